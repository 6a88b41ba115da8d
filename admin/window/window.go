package window

import (
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
}

// New returns a Window on the database of st. It only reads, until [Window.As]
// says who makes changes.
func New(st *store.Store) *Window {
	return &Window{store: st, pool: st.Pool(), operator: operate.New(st)}
}

// As returns the same Window for a person. Each change has a row with this name
// in the audit log.
func (w *Window) As(by operate.Actor) *Window {
	personal := *w
	personal.by = by
	return &personal
}

// plans returns the store that plans replays: exactly, or with estimates in a
// large database.
func (w *Window) plans(exact bool) *replay.Store {
	if exact {
		return replay.New(w.store)
	}
	return replay.New(w.store).Quick()
}
