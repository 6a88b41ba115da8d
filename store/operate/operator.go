package operate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/redact"
	"lumin-ingest/store"
	"lumin-ingest/store/replay"
)

// Actor is who orders a change.
type Actor struct {
	Name string // of a token, of a proxy's user, or user and host of a command; not empty
	From string // IP address; empty if the change comes through the database
	Via  string // Dashboard, API, Command or Worker
}

// Operator makes changes and writes the audit log. Its methods are safe for
// concurrent use. Each takes who orders the change and why; E-mail addresses are
// removed from the reason.
type Operator struct {
	store   *store.Store
	pool    *pgxpool.Pool
	replays *replay.Store
}

// New returns an Operator on the pool of st.
func New(st *store.Store) *Operator {
	return &Operator{store: st, pool: st.Pool(), replays: replay.New(st)}
}

// ErrNoReason refuses a change that needs a reason.
var ErrNoReason = errors.New("this change needs a reason")

var (
	// ErrNothingChanged is wrapped by the error of a change that was not begun, because
	// its row could not be written.
	ErrNothingChanged = errors.New("nothing changed")

	// ErrNoOutcome is wrapped by the error of a change that was carried out, and whose
	// row could not be completed.
	ErrNoOutcome = errors.New("the audit log lacks the outcome")

	// ErrInDoubt is wrapped by the error of a change that may have been carried out: the
	// connection broke, or the time was up, before the database had answered.
	ErrInDoubt = errors.New("it is not known whether this was carried out")
)

// Change describes a change for the audit log.
type Change struct {
	Action  string // such as ActionReplay
	Subject any    // becomes a JSON object; without personal data. nil means {}
	Reason  string
}

// outcomeTimeout bounds the statement that stores an outcome.
const outcomeTimeout = 5 * time.Second

// Do writes a row, calls make, and stores the outcome in the row. The result of
// make becomes a JSON object without personal data; it is stored even with an
// error. Do is for changes that this package has no method for. It returns the
// error of make.
func (o *Operator) Do(ctx context.Context, by Actor, c Change, make func(context.Context) (result any, err error)) error {
	id, err := o.begin(ctx, by, c)
	if err != nil {
		return err
	}
	result, made := make(ctx)
	// The outcome is stored even if the caller has gone.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), outcomeTimeout)
	defer cancel()
	if err := o.finish(ctx, id, result, made); err != nil && made == nil {
		return fmt.Errorf("%s was carried out, but %w in row %d: %w", c.Action, ErrNoOutcome, id, err)
	}
	return made
}

const beginSQL = `
INSERT INTO lumin.audit_log (actor, via, from_address, action, subject, reason)
VALUES ($1, $2, $3, $4, $5, $6) RETURNING id`

func (o *Operator) begin(ctx context.Context, by Actor, c Change) (id int64, err error) {
	subject, err := object(c.Subject)
	if err != nil {
		return 0, fmt.Errorf("write the audit log: %w", err)
	}
	err = o.pool.QueryRow(ctx, beginSQL, by.Name, by.Via, by.From, c.Action, subject, redact.Text(c.Reason)).Scan(&id)
	if err != nil {
		return 0, fmt.Errorf("%w: write the audit log: %w", ErrNothingChanged, err)
	}
	return id, nil
}

const finishSQL = `
UPDATE lumin.audit_log
SET outcome = CASE WHEN $3::text IS NULL THEN 'done' ELSE 'failed' END, finished_at = now(), result = $2, error = $3
WHERE id = $1`

func (o *Operator) finish(ctx context.Context, id int64, result any, failure error) error {
	var text *string
	if failure != nil {
		text = new(redact.Text(failure.Error()))
	}
	stored, err := object(result)
	if err == nil {
		_, err = o.pool.Exec(ctx, finishSQL, id, stored, text)
	}
	return err
}

// object returns v as a JSON object, without members that are null, empty or
// zero.
func object(v any) (json.RawMessage, error) {
	if v == nil {
		return json.RawMessage(`{}`), nil
	}
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	members := map[string]json.RawMessage{}
	if err := json.Unmarshal(text, &members); err != nil {
		return nil, err
	}
	for name, value := range members {
		switch string(value) {
		case `null`, `""`, `[]`, `{}`, `0`:
			delete(members, name)
		}
	}
	return json.Marshal(members)
}
