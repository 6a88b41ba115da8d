package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// ReplayFilter chooses the failed runs that a replay order is about. Every part
// that is set narrows the choice; a filter with no part set chooses nothing and
// is refused with [ErrNoFilter].
type ReplayFilter struct {
	Failed              bool       `json:"failed"` // all failed runs, if nothing else is set
	Kinds               []string   `json:"job_kinds"`
	EventTypes          []string   `json:"event_types"`
	Sources             []string   `json:"sources"`
	SignatureRequestIDs []string   `json:"signature_request_ids"`
	EventIDs            []int64    `json:"event_ids"`
	ReceivedSince       *time.Time `json:"received_since"` // inclusive
	ReceivedUntil       *time.Time `json:"received_until"` // exclusive
	EventSince          *time.Time `json:"event_since"`    // inclusive, Lumin's event_time
	EventUntil          *time.Time `json:"event_until"`    // exclusive
}

// ErrNoFilter refuses an order that names nothing to replay.
var ErrNoFilter = errors.New("no filter given: name what to replay (all failed runs: failed)")

// ErrNotFound says that there is no row of that id.
var ErrNotFound = errors.New("not found")

// Validate tells why an order of this filter would be refused.
func (f ReplayFilter) Validate() error {
	if !f.Failed && len(f.Kinds)+len(f.EventTypes)+len(f.Sources)+len(f.SignatureRequestIDs)+len(f.EventIDs) == 0 &&
		f.ReceivedSince == nil && f.ReceivedUntil == nil && f.EventSince == nil && f.EventUntil == nil {
		return ErrNoFilter
	}
	if inverted(f.ReceivedSince, f.ReceivedUntil) || inverted(f.EventSince, f.EventUntil) {
		return errors.New("the time range ends before it begins: exchange since and until")
	}
	return nil
}

func inverted(since, until *time.Time) bool {
	return since != nil && until != nil && !since.Before(*until)
}

// Replay is one replay order.
type Replay struct {
	ID         int64        `json:"id"`
	OrderedBy  string       `json:"ordered_by"`
	Reason     string       `json:"reason"`
	Filter     ReplayFilter `json:"filter"`
	State      string       `json:"state"`    // ordered, running, done, refused
	Enqueued   int64        `json:"enqueued"` // runs put back to pending so far
	Error      string       `json:"error"`    // why it was refused
	CreatedAt  time.Time    `json:"created_at"`
	StartedAt  *time.Time   `json:"started_at"`
	FinishedAt *time.Time   `json:"finished_at"`
}

// matchesFilter takes the filter's nine parts as $1 to $9; see filterArgs.
const matchesFilter = `
    (cardinality($1::text[]) = 0 OR r.job_kind = ANY ($1))
AND (cardinality($2::text[]) = 0 OR e.event_type = ANY ($2))
AND (cardinality($3::text[]) = 0 OR e.source = ANY ($3))
AND (cardinality($4::text[]) = 0 OR e.signature_request_id = ANY ($4))
AND (cardinality($5::bigint[]) = 0 OR r.event_key IN (SELECT event_key FROM lumin.events WHERE id = ANY ($5)))
AND ($6::timestamptz IS NULL OR e.received_at >= $6)
AND ($7::timestamptz IS NULL OR e.received_at < $7)
AND ($8::timestamptz IS NULL OR e.event_time >= $8)
AND ($9::timestamptz IS NULL OR e.event_time < $9)`

func (f ReplayFilter) args() []any {
	return []any{
		nonNil(f.Kinds), nonNil(f.EventTypes), nonNil(f.Sources), nonNil(f.SignatureRequestIDs), nonNilIDs(f.EventIDs),
		f.ReceivedSince, f.ReceivedUntil, f.EventSince, f.EventUntil,
	}
}

func nonNilIDs(ids []int64) []int64 {
	if ids == nil {
		return []int64{}
	}
	return ids
}

// PlannedReplay is what an order would do to the runs of one job type.
type PlannedReplay struct {
	Kind       string
	Runs       int64
	FirstEvent time.Time // received
	LastEvent  time.Time
}

const planReplaySQL = `
SELECT r.job_kind, count(*), min(e.received_at), max(e.received_at)
FROM lumin.runs r JOIN lumin.events e ON e.id = r.event_id
WHERE r.state = 'failed' AND ` + matchesFilter + `
GROUP BY r.job_kind ORDER BY r.job_kind`

// PlanReplay counts what an order of this filter would put back to pending now.
func (s *Store) PlanReplay(ctx context.Context, f ReplayFilter) ([]PlannedReplay, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	// Planned for the filter given: see ListEvents.
	rows, err := s.pool.Query(ctx, planReplaySQL, append([]any{pgx.QueryExecModeCacheDescribe}, f.args()...)...)
	if err != nil {
		return nil, fmt.Errorf("plan replay: %w", err)
	}
	plan, err := pgx.CollectRows(rows, pgx.RowToStructByPos[PlannedReplay])
	if err != nil {
		return nil, fmt.Errorf("plan replay: %w", err)
	}
	return plan, nil
}

const orderReplaySQL = `
INSERT INTO lumin.replays (job_kinds, event_types, sources, signature_request_ids, event_ids,
                           received_since, received_until, event_since, event_until, status, reason)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, CASE WHEN $10 THEN 'failed' END, $11)
RETURNING id`

// OrderReplay places an order. A running worker carries it out.
func (s *Store) OrderReplay(ctx context.Context, f ReplayFilter, reason string) (id int64, err error) {
	if err := f.Validate(); err != nil {
		return 0, err
	}
	if err := s.pool.QueryRow(ctx, orderReplaySQL, append(f.args(), f.Failed, reason)...).Scan(&id); err != nil {
		return 0, fmt.Errorf("order replay: %w", err)
	}
	return id, nil
}

const replayColumns = `id, ordered_by, reason, status IS NOT NULL, job_kinds, event_types, sources,
    signature_request_ids, event_ids, received_since, received_until, event_since, event_until,
    state, enqueued, coalesce(error, ''), created_at, started_at, finished_at`

func scanReplay(row pgx.CollectableRow) (Replay, error) {
	var r Replay
	f := &r.Filter
	err := row.Scan(&r.ID, &r.OrderedBy, &r.Reason, &f.Failed, &f.Kinds, &f.EventTypes, &f.Sources,
		&f.SignatureRequestIDs, &f.EventIDs, &f.ReceivedSince, &f.ReceivedUntil, &f.EventSince, &f.EventUntil,
		&r.State, &r.Enqueued, &r.Error, &r.CreatedAt, &r.StartedAt, &r.FinishedAt)
	return r, err
}

// Replays lists the newest orders first, at most limit.
func (s *Store) Replays(ctx context.Context, limit int) ([]Replay, error) {
	rows, err := s.pool.Query(ctx, `SELECT `+replayColumns+` FROM lumin.replays ORDER BY id DESC LIMIT $1`, limit)
	if err != nil {
		return nil, fmt.Errorf("list replays: %w", err)
	}
	replays, err := pgx.CollectRows(rows, scanReplay)
	if err != nil {
		return nil, fmt.Errorf("list replays: %w", err)
	}
	return replays, nil
}

// Replay returns one order; ErrNotFound if there is none of that id.
func (s *Store) Replay(ctx context.Context, id int64) (Replay, error) {
	rows, err := s.pool.Query(ctx, `SELECT `+replayColumns+` FROM lumin.replays WHERE id = $1`, id)
	if err != nil {
		return Replay{}, fmt.Errorf("load replay %d: %w", id, err)
	}
	replay, err := pgx.CollectExactlyOneRow(rows, scanReplay)
	if errors.Is(err, pgx.ErrNoRows) {
		return Replay{}, fmt.Errorf("replay %d: %w", id, ErrNotFound)
	}
	if err != nil {
		return Replay{}, fmt.Errorf("load replay %d: %w", id, err)
	}
	return replay, nil
}

// RunCount is how many runs of one job type are in one state.
type RunCount struct {
	Kind  string `json:"job_kind"`
	State string `json:"state"`
	Runs  int64  `json:"count"`
}

// ReplayRuns tells where the runs of an order are by now. A run that a later
// order took over is counted there.
func (s *Store) ReplayRuns(ctx context.Context, id int64) ([]RunCount, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT job_kind, state, count(*) FROM lumin.runs
		WHERE replay_id = $1 AND replay_id > 0 GROUP BY 1, 2 ORDER BY 1, 2`, id)
	if err != nil {
		return nil, fmt.Errorf("count runs of replay %d: %w", id, err)
	}
	counts, err := pgx.CollectRows(rows, pgx.RowToStructByPos[RunCount])
	if err != nil {
		return nil, fmt.Errorf("count runs of replay %d: %w", id, err)
	}
	return counts, nil
}

// StartReplay marks an order as being carried out, or says again why it is over.
func (s *Store) StartReplay(ctx context.Context, id int64) (Replay, error) {
	_, err := s.pool.Exec(ctx, `
		UPDATE lumin.replays SET state = 'running', started_at = coalesce(started_at, now())
		WHERE id = $1 AND state IN ('ordered', 'running')`, id)
	if err != nil {
		return Replay{}, fmt.Errorf("start replay %d: %w", id, err)
	}
	return s.Replay(ctx, id)
}

// RefuseReplay ends an order that cannot be carried out.
func (s *Store) RefuseReplay(ctx context.Context, id int64, why string) error {
	_, err := s.pool.Exec(ctx, `
		UPDATE lumin.replays SET state = 'refused', error = $2, finished_at = now()
		WHERE id = $1 AND state IN ('ordered', 'running')`, id, why)
	if err != nil {
		return fmt.Errorf("refuse replay %d: %w", id, err)
	}
	return nil
}

// replayPage is how many runs are put back to pending in one transaction.
const replayPage = 1000

// Only runs of older orders: one that failed again under this order would
// otherwise be replayed by it for ever. Two orders on the same runs wait for
// each other, page by page and in the same sequence, and the second then finds
// them pending.
const replayPageSQL = `
WITH page AS (
    SELECT r.event_key, r.job_kind
    FROM lumin.runs r JOIN lumin.events e ON e.id = r.event_id
    WHERE r.state = 'failed' AND r.replay_id < $10 AND r.job_kind = ANY ($11) AND ` + matchesFilter + `
    ORDER BY r.event_key, r.job_kind LIMIT $12
    FOR UPDATE OF r
)
UPDATE lumin.runs r
SET state = 'pending', replay_id = $10, attempts = 0, error = NULL, pending_since = now(), finished_at = NULL
FROM page p WHERE r.event_key = p.event_key AND r.job_kind = p.job_kind
RETURNING r.event_key, r.job_kind`

// The order is locked first: a refusal ends it between two pages, and a second
// worker that was given the same order waits.
const lockReplaySQL = `
SELECT state IN ('ordered', 'running') FROM lumin.replays WHERE id = $1 FOR NO KEY UPDATE`

// ReplayPage puts the next runs of an order back to pending, with a job each, in
// one transaction. It acts on the job types in specs only, by kind. When nothing
// is left it marks the order done and returns 0; it also returns 0, and does
// nothing, when the order is over by now. What it did is told by the runs' own
// state, so it may be stopped and called again at any time.
func (s *Store) ReplayPage(ctx context.Context, order Replay, specs map[string]JobSpec) (n int, err error) {
	return s.replayPage(ctx, order, specs, replayPage)
}

func (s *Store) replayPage(ctx context.Context, order Replay, specs map[string]JobSpec, limit int) (n int, err error) {
	kinds := make([]string, 0, len(specs))
	for kind := range specs {
		kinds = append(kinds, kind)
	}
	err = pgx.BeginTxFunc(ctx, s.pool, readCommitted, func(tx pgx.Tx) error {
		var open bool
		err := tx.QueryRow(ctx, lockReplaySQL, order.ID).Scan(&open)
		if errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("replay %d: %w", order.ID, ErrNotFound)
		}
		if err != nil {
			return fmt.Errorf("lock replay %d: %w", order.ID, err)
		}
		if !open {
			return nil
		}
		// Planned for the filter given: see ListEvents.
		args := append([]any{pgx.QueryExecModeCacheDescribe}, order.Filter.args()...)
		rows, err := tx.Query(ctx, replayPageSQL, append(args, order.ID, kinds, limit)...)
		if err != nil {
			return fmt.Errorf("take a page of replay %d: %w", order.ID, err)
		}
		var (
			key  [16]byte
			kind string
			jobs []queuedJob
		)
		_, err = pgx.ForEachRow(rows, []any{&key, &kind}, func() error {
			jobs = append(jobs, queuedJob{
				args: JobArgs{EventKey: key, ReplayID: order.ID, JobKind: kind},
				spec: specs[kind],
			})
			return nil
		})
		if err != nil {
			return fmt.Errorf("take a page of replay %d: %w", order.ID, err)
		}
		n = len(jobs)
		if err := s.enqueue(ctx, tx, jobs); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			UPDATE lumin.replays SET enqueued = enqueued + $2,
			    state = CASE WHEN $2 = 0 THEN 'done' ELSE state END,
			    finished_at = CASE WHEN $2 = 0 THEN now() END
			WHERE id = $1`, order.ID, n)
		if err != nil {
			return fmt.Errorf("count a page of replay %d: %w", order.ID, err)
		}
		return nil
	})
	return n, err
}
