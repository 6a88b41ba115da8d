package replay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
	"lumin-ingest/internal/redact"
	"lumin-ingest/store"
)

// NewOrder is an order to place.
type NewOrder struct {
	Filter    Filter
	Rate      int    // runs a second; 0 for no limit
	Reason    string // shown with the order
	OrderedBy string // empty means the database role

	// Token is a UUID that marks the order. Place stores one order with it, however
	// often it is called. Empty: no mark.
	Token string
}

// Validate returns the reason why the order is refused.
func (n NewOrder) Validate() error {
	if n.Rate < 0 {
		return fmt.Errorf("a rate of %d runs a second is invalid: give 1 or more", n.Rate)
	}
	return n.Filter.Validate()
}

const placeSQL = `
INSERT INTO lumin.replays (job_kinds, event_types, sources, signature_request_ids, event_ids, error_fingerprints,
                           received_since, received_until, event_since, event_until, as_of, status, rate, reason, ordered_by, order_token)
VALUES (@kinds, @types, @sources, @requests, @ids, @errors, @received_since, @received_until, @event_since, @event_until, @as_of,
        nullif(@status, ''), nullif(@rate, 0), @reason, coalesce(nullif(@by, ''), current_user), nullif(@token, '')::uuid)
ON CONFLICT (order_token) WHERE order_token IS NOT NULL DO NOTHING
RETURNING id`

const placedSQL = `SELECT id FROM lumin.replays WHERE order_token = nullif(@token, '')::uuid`

// Place stores an order. A running worker carries it out. If the filter has no AsOf,
// or one in the future, the time of the order counts. E-mail addresses are removed
// from the reason.
func (s *Store) Place(ctx context.Context, n NewOrder) (id int64, err error) {
	if err := n.Validate(); err != nil {
		return 0, err
	}
	args := n.Filter.args()
	args["status"], args["rate"], args["reason"], args["by"] = string(n.Filter.Status), n.Rate, redact.Text(n.Reason), n.OrderedBy
	args["token"] = n.Token
	err = s.pool.QueryRow(ctx, placeSQL, args).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		err = s.pool.QueryRow(ctx, placedSQL, pgx.NamedArgs{"token": n.Token}).Scan(&id)
	}
	if err != nil {
		return 0, fmt.Errorf("order replay: %w", err)
	}
	return id, nil
}

// Placed returns the order that has a token, and whether there is one.
func (s *Store) Placed(ctx context.Context, token string) (id int64, found bool, err error) {
	err = s.pool.QueryRow(ctx, placedSQL, pgx.NamedArgs{"token": token}).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("find an ordered replay: %w", err)
	}
	return id, true, nil
}

// Order is one replay order.
type Order struct {
	ID        int64  `json:"id"`
	OrderedBy string `json:"ordered_by"`
	Reason    string `json:"reason"`
	Filter    Filter `json:"filter"`
	Rate      int    `json:"rate"`    // runs a second; 0 for no limit
	State     string `json:"state"`   // ordered, running, done, cancelled, refused, failed
	Planned   *int64 `json:"planned"` // runs that matched at the start, or an estimate; nil before

	// PlannedExactly is false if Planned is an estimate.
	PlannedExactly bool `json:"planned_exactly"`

	Enqueued   int64      `json:"enqueued"`  // runs made pending so far
	Withdrawn  int64      `json:"withdrawn"` // enqueued runs that a cancel has restored
	Error      string     `json:"error"`     // why it was refused or failed, or which runs it skipped
	CreatedAt  time.Time  `json:"created_at"`
	StartedAt  *time.Time `json:"started_at"`
	EnqueuedAt *time.Time `json:"enqueued_at"` // when the last run became pending
	FinishedAt *time.Time `json:"finished_at"`

	jobsAfter int64 // the jobs of the order have higher ids
}

// Finished reports whether the order has ended and needs no more work.
func (o Order) Finished() bool { return o.FinishedAt != nil }

// Validate returns the reason why no program can carry out the order. An order
// may have been placed by hand in SQL, so nothing has checked it yet.
func (o Order) Validate() error { return NewOrder{Filter: o.Filter, Rate: o.Rate}.Validate() }

const orderColumns = `id, ordered_by, reason, coalesce(status, ''), job_kinds, event_types, sources,
    signature_request_ids, event_ids, error_fingerprints, received_since, received_until, event_since, event_until, coalesce(as_of, created_at),
    coalesce(rate, 0), state, planned, planned_exactly, enqueued, withdrawn, coalesce(error, ''), created_at, started_at, enqueued_at, finished_at, coalesce(jobs_after, 0)`

func scanOrder(row pgx.CollectableRow) (Order, error) {
	var o Order
	f := &o.Filter
	err := row.Scan(&o.ID, &o.OrderedBy, &o.Reason, &f.Status, &f.Kinds, &f.EventTypes, &f.Sources,
		&f.SignatureRequestIDs, &f.EventIDs, &f.ErrorFingerprints, &f.ReceivedSince, &f.ReceivedUntil, &f.EventSince, &f.EventUntil, &f.AsOf,
		&o.Rate, &o.State, &o.Planned, &o.PlannedExactly, &o.Enqueued, &o.Withdrawn, &o.Error, &o.CreatedAt, &o.StartedAt, &o.EnqueuedAt, &o.FinishedAt, &o.jobsAfter)
	return o, err
}

// List returns the newest orders first, at most limit. If before is not 0, it
// returns only orders that are older than the one with this id.
func (s *Store) List(ctx context.Context, before int64, limit int) ([]Order, error) {
	return query.Rows(ctx, s.pool, "list replays", scanOrder,
		`SELECT `+orderColumns+` FROM lumin.replays WHERE $1::bigint = 0 OR id < $1 ORDER BY id DESC LIMIT $2`, before, limit)
}

// Get returns one order, or [store.ErrNotFound].
func (s *Store) Get(ctx context.Context, id int64) (Order, error) {
	order, err := query.Row(ctx, s.pool, fmt.Sprintf("load replay %d", id), scanOrder,
		`SELECT `+orderColumns+` FROM lumin.replays WHERE id = $1`, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return Order{}, fmt.Errorf("replay %d: %w", id, store.ErrNotFound)
	}
	return order, err
}

// runsSQL leaves out runs that a cancel has restored. If they keep the number of the
// order, they have no job.
const runsSQL = `
SELECT r.job_kind, r.state, count(*) FROM lumin.runs r
WHERE r.replay_id = $1 AND r.replay_id > 0
  AND NOT (r.job_id IS NULL AND r.state NOT IN ('pending', 'parked')
           AND EXISTS (SELECT FROM lumin.replays o WHERE o.id = $1 AND o.withdrawn > 0))
GROUP BY 1, 2 ORDER BY 1, 2`

// Runs counts the runs of an order by job type and state. A run that a later
// order has taken counts for that order, and a restored run for none.
func (s *Store) Runs(ctx context.Context, id int64) ([]store.RunCount, error) {
	return query.Structs[store.RunCount](ctx, s.pool, fmt.Sprintf("count runs of replay %d", id), runsSQL, id)
}

// ReplayedLater is how many runs of the order later orders have taken, or
// retention has removed with their events. runs are those of [Store.Runs], read
// after the order. It is 0 until all runs of the order have become pending, and for
// decoded events, which are no runs.
func (o Order) ReplayedLater(runs []store.RunCount) int64 {
	complete := o.Finished() || (o.State == "running" && o.EnqueuedAt != nil)
	if !complete || o.Filter.Status == Unrecognized {
		return 0
	}
	rest := o.Enqueued - o.Withdrawn
	for _, n := range runs {
		rest -= n.Runs
	}
	return max(rest, 0)
}
