package window

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/store"
	"lumin-ingest/store/operate"
	"lumin-ingest/store/replay"
)

// Window is an operator's view of a database. Its methods are safe for
// concurrent use.
type Window struct {
	store    *store.Store
	pool     *pgxpool.Pool
	operator *operate.Operator
	by       operate.Actor
	turn     chan struct{} // holds a value while a caller counts all work
}

// New returns a Window on the database of st. It only reads, until [Window.As]
// says who makes changes.
func New(st *store.Store) *Window {
	return &Window{store: st, pool: st.Pool(), operator: operate.New(st), turn: make(chan struct{}, 1)}
}

// As returns the same Window for a person. Each change has a row with this name
// in the audit log.
func (w *Window) As(by operate.Actor) *Window {
	personal := *w
	personal.by = by
	return &personal
}

// inTurn calls count when no other caller of the Window counts all work. So callers
// who ask often keep one connection busy, and not all of them.
func inTurn[T any](ctx context.Context, w *Window, count func(context.Context, *pgxpool.Pool) (T, error)) (none T, err error) {
	select {
	case w.turn <- struct{}{}:
	case <-ctx.Done():
		return none, ctx.Err()
	}
	defer func() { <-w.turn }()
	return count(ctx, w.pool)
}

// Now is the time of the database's clock.
func (w *Window) Now(ctx context.Context) (time.Time, error) { return w.store.Now(ctx) }

// plans returns the store that plans replays: exactly, or with estimates in a
// large database.
func (w *Window) plans(exact bool) *replay.Store {
	if exact {
		return replay.New(w.store)
	}
	return replay.New(w.store).Quick()
}
