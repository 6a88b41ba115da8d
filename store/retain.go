package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Retention is how long things are kept after their event was received; 0 is for
// ever. What pending and failed runs need is kept longer.
type Retention struct {
	Payloads time.Duration // bodies, of redeliveries too; they never outlast their event
	Events   time.Duration // everything else: events, runs, failures, redeliveries
}

// Retained counts what retention has removed, or would remove.
type Retained struct {
	Payloads     int64 `json:"payloads"`
	Events       int64 `json:"events"`
	Runs         int64 `json:"runs"`
	Redeliveries int64 `json:"redeliveries"`
}

// Rows is how many rows were touched.
func (r Retained) Rows() int64 { return r.Payloads + r.Events + r.Runs + r.Redeliveries }

func (r *Retained) add(more Retained) {
	r.Payloads += more.Payloads
	r.Events += more.Events
	r.Runs += more.Runs
	r.Redeliveries += more.Redeliveries
}

// planRetentionSQL goes through each table once, for everything that is old.
const planRetentionSQL = `
WITH needed AS (
    SELECT DISTINCT event_key FROM lumin.runs WHERE state IN ('pending', 'failed')
), old AS MATERIALIZED (
    SELECT e.id, e.event_key, e.payload_removed_at IS NULL AND e.received_at < $1 AS body, e.received_at < $2 AS whole,
           n.event_key IS NOT NULL AS needed
    FROM lumin.events e LEFT JOIN needed n ON n.event_key = e.event_key
    WHERE e.payload_removed_at IS NULL AND e.received_at < $1 OR e.received_at < $2
), gone AS MATERIALIZED (
    SELECT o.id, o.event_key, o.body FROM old o
    WHERE o.whole AND NOT o.needed
      AND NOT EXISTS (SELECT FROM lumin.events y WHERE y.event_key = o.event_key AND y.received_at >= $2)
)
SELECT (SELECT count(*) FROM old WHERE body AND NOT needed) - (SELECT count(*) FROM gone WHERE body),
       (SELECT count(*) FROM gone),
       (SELECT count(*) FROM lumin.runs WHERE event_key IN (SELECT event_key FROM gone)),
       (SELECT count(*) FROM lumin.redeliveries WHERE event_id IN (SELECT id FROM gone)),
       (SELECT count(*) FROM old WHERE needed)`

// PlanRetention counts what would be removed now, and the events whose body or
// row is only kept because a run needs it.
func (s *Store) PlanRetention(ctx context.Context, r Retention, now time.Time) (plan Retained, kept int64, err error) {
	payloads, events := r.cutoffs(now)
	err = s.pool.QueryRow(ctx, planRetentionSQL, pgx.QueryExecModeCacheDescribe, payloads, events).
		Scan(&plan.Payloads, &plan.Events, &plan.Runs, &plan.Redeliveries, &kept)
	if err != nil {
		return plan, kept, fmt.Errorf("plan retention: %w", err)
	}
	return plan, kept, nil
}

// cutoffs are when bodies and events were received at the latest to be too old.
func (r Retention) cutoffs(now time.Time) (payloads, events time.Time) {
	if r.Payloads > 0 {
		payloads = now.Add(-r.Payloads)
	}
	if r.Events > 0 {
		events = now.Add(-r.Events)
	}
	return payloads, events
}

// RetentionPass goes once over all that is too old when it begins. It knows how
// far it has come, so that what is kept is not looked at again and again. It is for
// one goroutine at a time.
type RetentionPass struct {
	steps []*retainStep // those that are not over
	next  int
}

// retainStep is what a pass does to one table.
type retainStep struct {
	page            func(context.Context, pgx.Tx, *retainStep) (Retained, retainPosition, int, error)
	size            int       // how many rows one transaction looks at
	payloads, whole time.Time // the cutoffs
	table           string    // of rows without their event
	at              retainPosition
}

const (
	// Few, so that nobody waits long for one of them.
	retainPageEvents = 500

	// Next to none is without its event, and nobody waits for one.
	retainPageOrphans = 5000
)

// retainPosition is the last row that was looked at.
type retainPosition struct {
	receivedAt time.Time
	id         int64
	key        [16]byte
}

// NewRetentionPass is a pass that has not begun.
func NewRetentionPass(r Retention, now time.Time) *RetentionPass {
	p := &RetentionPass{}
	payloads, whole := r.cutoffs(now)
	if r.Events > 0 {
		p.steps = append(p.steps, &retainStep{page: retainEvents, size: retainPageEvents, payloads: payloads, whole: whole},
			&retainStep{page: retainOrphans, size: retainPageOrphans, whole: whole, table: "runs"},
			&retainStep{page: retainOrphans, size: retainPageOrphans, whole: whole, table: "failures"},
			&retainStep{page: retainOrphans, size: retainPageOrphans, whole: whole, table: "dismissals"})
	}
	if r.Payloads > 0 { // where events do not go as well
		p.steps = append(p.steps, &retainStep{page: retainPayloads, size: retainPageEvents, payloads: payloads, at: retainPosition{receivedAt: whole}})
	}
	return p
}

// Over tells whether the pass has come to its end.
func (p *RetentionPass) Over() bool { return len(p.steps) == 0 }

// Retain removes what is too old, until nothing is left or ctx ends, and returns
// what it has removed even beside an error. It may be stopped and called again at
// any time, also by several at once.
func (s *Store) Retain(ctx context.Context, r Retention, now time.Time) (done Retained, err error) {
	for pass := NewRetentionPass(r, now); err == nil && !pass.Over(); {
		var removed Retained
		removed, err = s.RetainSome(ctx, pass, time.Minute)
		done.add(removed)
	}
	return done, err
}

// RetainSome carries a pass on for about the given time, like [Store.Retain].
func (s *Store) RetainSome(ctx context.Context, p *RetentionPass, length time.Duration) (done Retained, err error) {
	for end := time.Now().Add(length); !p.Over(); {
		start := time.Now()
		removed, err := s.retainPage(ctx, p)
		if err != nil {
			return done, fmt.Errorf("remove what is too old: %w", err)
		}
		done.add(removed)
		// A third of the time is for others.
		select {
		case <-ctx.Done():
			return done, ctx.Err()
		case <-time.After(time.Since(start) / 2):
		}
		if time.Now().After(end) {
			break
		}
	}
	return done, nil
}

// Those that remove things take turns, or each would leave what others have
// locked. What a crash brings back is removed again; deliveries need the disk. The
// number only has to differ from the locks of others.
const beginRetainPageSQL = `
SET LOCAL synchronous_commit = off;
SELECT pg_advisory_xact_lock(7812740336261935461)`

// retainPage does one transaction of one step; the steps take turns.
func (s *Store) retainPage(ctx context.Context, p *RetentionPass) (removed Retained, err error) {
	p.next %= len(p.steps)
	step := p.steps[p.next]
	var (
		at     retainPosition
		looked int
	)
	err = pgx.BeginTxFunc(ctx, s.pool, readCommitted, func(tx pgx.Tx) (err error) {
		if _, err := tx.Exec(ctx, beginRetainPageSQL); err != nil {
			return fmt.Errorf("take a turn: %w", err)
		}
		removed, at, looked, err = step.page(ctx, tx, step)
		return err
	})
	if err != nil {
		return Retained{}, err
	}
	if step.at = at; looked < step.size {
		p.steps = append(p.steps[:p.next], p.steps[p.next+1:]...)
		return removed, nil
	}
	p.next++
	return removed, nil
}

// Conditions on an event e, whose sources share its runs. OFFSET 0 keeps look-ups
// look-ups.
const (
	neededByRun = `EXISTS (
    SELECT FROM lumin.runs r WHERE r.event_key = e.event_key AND r.state IN ('pending', 'failed') OFFSET 0)`

	// Younger than $4 by another source.
	youngerCopy = `EXISTS (SELECT FROM lumin.events o WHERE o.event_key = e.event_key AND o.received_at >= $4 OFFSET 0)`
)

// The next events of a page, and of those the ones that may go, or whose body may.
// Nothing is locked, because most may have to stay.
const (
	oldEventsSQL = `
WITH e AS MATERIALIZED (
    SELECT id, event_key, received_at, payload_removed_at IS NULL AND received_at < $5 AS body FROM lumin.events
    WHERE received_at < $4 AND (received_at, id) > ($1, $2)
    ORDER BY received_at, id LIMIT $3
), old AS MATERIALIZED (
    SELECT e.*, ` + youngerCopy + ` AS stays FROM e WHERE NOT ` + neededByRun + `
)
SELECT (SELECT count(*) FROM e), l.received_at, l.id,
       ARRAY(SELECT DISTINCT event_key FROM old WHERE NOT stays), ARRAY(SELECT id FROM old WHERE stays AND body)
FROM (SELECT received_at, id FROM e ORDER BY received_at DESC, id DESC LIMIT 1) l`

	oldPayloadsSQL = `
WITH e AS MATERIALIZED (
    SELECT id, event_key, received_at FROM lumin.events
    WHERE payload_removed_at IS NULL AND received_at < $4 AND (received_at, id) > ($1, $2)
    ORDER BY received_at, id LIMIT $3
)
SELECT (SELECT count(*) FROM e), l.received_at, l.id, ARRAY[]::uuid[], ARRAY(SELECT e.id FROM e WHERE NOT ` + neededByRun + `)
FROM (SELECT received_at, id FROM e ORDER BY received_at DESC, id DESC LIMIT 1) l`
)

// oldEvents is what a page of events holds that may go.
type oldEvents struct {
	keys   [][16]byte // of events
	bodies []int64    // ids of events that stay
	looked int        // how many events were looked at
	last   retainPosition
}

// lookForOld reads a page.
func lookForOld(ctx context.Context, tx pgx.Tx, sql string, step *retainStep, cutoffs ...any) (old oldEvents, err error) {
	old.last = step.at
	rows, err := planned(ctx, tx, sql, append([]any{step.at.receivedAt, step.at.id, step.size}, cutoffs...)...)
	if err == nil {
		// No row at all where there is no event left.
		_, err = pgx.ForEachRow(rows, []any{&old.looked, &old.last.receivedAt, &old.last.id, &old.keys, &old.bodies}, func() error { return nil })
	}
	if err != nil {
		return old, fmt.Errorf("look for old events: %w", err)
	}
	return old, nil
}

// planned has a statement planned for the tables as they are now: a connection may
// have been there since they were empty.
func planned(ctx context.Context, tx pgx.Tx, sql string, args ...any) (pgx.Rows, error) {
	return tx.Query(ctx, sql, append([]any{pgx.QueryExecModeCacheDescribe}, args...)...)
}

// Retention waits for nobody while it holds a lock, so that it can be part of no
// deadlock: what somebody else has locked is left to the next pass. Locks on events
// are the strongest, against those that are about to make runs of them.
const lockPayloadsSQL = `
SELECT id FROM lumin.events WHERE id = ANY ($1) AND payload_removed_at IS NULL ORDER BY id FOR UPDATE SKIP LOCKED`

const (
	// Looks once more: since it was looked at, an order may have replayed the run.
	removePayloadsSQL = `
UPDATE lumin.events e SET payload = NULL, payload_removed_at = now() WHERE e.id = ANY ($1) AND NOT ` + neededByRun

	// Who adds one that has a body locks the event first.
	removeCopiesSQL = `
UPDATE lumin.redeliveries d SET payload = NULL, promoted_key = NULL
FROM lumin.events e
WHERE d.event_id = ANY ($1) AND d.payload IS NOT NULL AND e.id = d.event_id AND e.payload_removed_at IS NOT NULL`
)

func retainPayloads(ctx context.Context, tx pgx.Tx, step *retainStep) (removed Retained, last retainPosition, looked int, err error) {
	old, err := lookForOld(ctx, tx, oldPayloadsSQL, step, step.payloads)
	if err == nil {
		err = removePayloads(ctx, tx, old.bodies, &removed)
	}
	return removed, old.last, old.looked, err
}

// removePayloads removes the bodies of those events that nobody holds or needs.
func removePayloads(ctx context.Context, tx pgx.Tx, ids []int64, removed *Retained) error {
	if len(ids) == 0 {
		return nil
	}
	rows, err := planned(ctx, tx, lockPayloadsSQL, ids)
	if err == nil {
		ids, err = pgx.CollectRows(rows, pgx.RowTo[int64])
	}
	if err != nil {
		return fmt.Errorf("lock events: %w", err)
	}
	tag, err := tx.Exec(ctx, removePayloadsSQL, pgx.QueryExecModeCacheDescribe, ids)
	if err != nil {
		return fmt.Errorf("remove bodies: %w", err)
	}
	removed.Payloads = tag.RowsAffected()
	if _, err = tx.Exec(ctx, removeCopiesSQL, pgx.QueryExecModeCacheDescribe, ids); err != nil {
		return fmt.Errorf("remove bodies of redeliveries: %w", err)
	}
	return nil
}

// lockEventsWholeSQL locks what belongs to event keys, and counts by key what it
// got.
const lockEventsWholeSQL = `
WITH e AS MATERIALIZED (
    SELECT l.* FROM unnest($1::uuid[]) AS w (event_key)
    CROSS JOIN LATERAL (SELECT id, event_key FROM lumin.events WHERE event_key = w.event_key FOR UPDATE SKIP LOCKED OFFSET 0) l
), r AS (
    SELECT l.* FROM unnest($1::uuid[]) AS w (event_key)
    CROSS JOIN LATERAL (SELECT event_key FROM lumin.runs WHERE event_key = w.event_key FOR UPDATE SKIP LOCKED OFFSET 0) l
), d AS (
    SELECT e.event_key FROM e
    CROSS JOIN LATERAL (SELECT FROM lumin.redeliveries WHERE event_id = e.id FOR UPDATE SKIP LOCKED OFFSET 0) l
)
SELECT event_key, count(*) FROM (SELECT event_key FROM e UNION ALL TABLE r UNION ALL TABLE d) l GROUP BY 1`

// removeEventsSQL removes the keys of which everything that is there now has been
// locked before: all of a key, or nothing, because a run that is gone while its
// event stays would be made and worked on once more.
const removeEventsSQL = `
WITH gone AS MATERIALIZED (
    SELECT w.event_key FROM unnest($2::uuid[], $3::bigint[]) AS w (event_key, locked)
    CROSS JOIN LATERAL (
        SELECT count(*) AS n, coalesce(bool_or(state IN ('pending', 'failed')), false) AS needed
        FROM lumin.runs WHERE event_key = w.event_key OFFSET 0) r
    CROSS JOIN LATERAL (
        SELECT count(*) AS n, max(received_at) AS youngest, sum((SELECT count(*) FROM lumin.redeliveries WHERE event_id = o.id)) AS copies
        FROM lumin.events o WHERE o.event_key = w.event_key OFFSET 0) e
    WHERE NOT r.needed AND e.youngest < $1 AND w.locked = e.n + e.copies + r.n
), runs AS (
    DELETE FROM lumin.runs WHERE event_key = ANY (ARRAY(SELECT event_key FROM gone)) RETURNING 1
), failures AS (
    DELETE FROM lumin.failures WHERE event_key = ANY (ARRAY(SELECT event_key FROM gone))
), dismissals AS (
    DELETE FROM lumin.dismissals WHERE event_key = ANY (ARRAY(SELECT event_key FROM gone))
), redeliveries AS (
    DELETE FROM lumin.redeliveries
    WHERE event_id = ANY (ARRAY(SELECT id FROM lumin.events WHERE event_key = ANY (ARRAY(SELECT event_key FROM gone)))) RETURNING 1
), events AS (
    DELETE FROM lumin.events WHERE event_key = ANY (ARRAY(SELECT event_key FROM gone)) RETURNING signature_request_id
)
SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM runs), (SELECT count(*) FROM redeliveries),
       ARRAY(SELECT DISTINCT signature_request_id FROM events WHERE signature_request_id IS NOT NULL)`

const removeRequestsSQL = `
DELETE FROM lumin.signature_requests WHERE signature_request_id = ANY (ARRAY(
    SELECT s.signature_request_id FROM lumin.signature_requests s
    WHERE s.signature_request_id = ANY ($1)
      AND NOT EXISTS (SELECT FROM lumin.events e WHERE e.signature_request_id = s.signature_request_id OFFSET 0)
    FOR UPDATE SKIP LOCKED))`

func retainEvents(ctx context.Context, tx pgx.Tx, step *retainStep) (removed Retained, last retainPosition, looked int, err error) {
	old, err := lookForOld(ctx, tx, oldEventsSQL, step, step.whole, step.payloads)
	if err == nil {
		err = removePayloads(ctx, tx, old.bodies, &removed)
	}
	if err == nil {
		err = removeEvents(ctx, tx, old.keys, step.whole, &removed)
	}
	return removed, old.last, old.looked, err
}

// removeEvents removes all that belongs to those keys of which nobody holds or
// needs anything.
func removeEvents(ctx context.Context, tx pgx.Tx, keys [][16]byte, whole time.Time, removed *Retained) error {
	if len(keys) == 0 {
		return nil
	}
	var (
		key      [16]byte
		n        int64
		taken    [][16]byte
		locked   []int64
		requests []string
	)
	rows, err := planned(ctx, tx, lockEventsWholeSQL, keys)
	if err == nil {
		_, err = pgx.ForEachRow(rows, []any{&key, &n}, func() error {
			taken, locked = append(taken, key), append(locked, n)
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("lock events: %w", err)
	}
	err = tx.QueryRow(ctx, removeEventsSQL, pgx.QueryExecModeCacheDescribe, whole, taken, locked).
		Scan(&removed.Events, &removed.Runs, &removed.Redeliveries, &requests)
	if err != nil {
		return fmt.Errorf("remove events: %w", err)
	}
	if _, err = tx.Exec(ctx, removeRequestsSQL, pgx.QueryExecModeCacheDescribe, requests); err != nil {
		return fmt.Errorf("remove signature requests without events: %w", err)
	}
	return nil
}

// orphansSQL removes rows of a table that have lost their event, such as runs that
// were made while it was being deleted by hand. Keys are in the order of time.
func orphansSQL(table string) string {
	return `
WITH w AS MATERIALIZED (
    SELECT event_key FROM lumin.` + table + ` WHERE event_key > $1 AND event_key < $2 ORDER BY event_key LIMIT $3
), gone AS (
    DELETE FROM lumin.` + table + ` WHERE ctid = ANY (ARRAY(
        SELECT t.ctid FROM lumin.` + table + ` t
        WHERE t.event_key = ANY (ARRAY(
            SELECT w.event_key FROM w WHERE NOT EXISTS (SELECT FROM lumin.events e WHERE e.event_key = w.event_key OFFSET 0)))
        FOR UPDATE SKIP LOCKED))
    RETURNING 1
)
SELECT (SELECT count(*) FROM w), (SELECT count(*) FROM gone), w.event_key FROM w ORDER BY w.event_key DESC LIMIT 1`
}

func retainOrphans(ctx context.Context, tx pgx.Tx, step *retainStep) (removed Retained, last retainPosition, looked int, err error) {
	var at [8]byte
	binary.BigEndian.PutUint64(at[:], uint64(max(step.whole.UnixMilli(), 0)))
	var until [16]byte
	copy(until[:6], at[2:])
	last = step.at
	rows, err := planned(ctx, tx, orphansSQL(step.table), step.at.key, until, step.size)
	if err != nil {
		return removed, last, 0, fmt.Errorf("remove %s without events: %w", step.table, err)
	}
	var n int64
	if _, err = pgx.ForEachRow(rows, []any{&looked, &n, &last.key}, func() error { return nil }); err != nil {
		return removed, step.at, 0, fmt.Errorf("remove %s without events: %w", step.table, err)
	}
	if step.table == "runs" {
		removed.Runs = n
	}
	return removed, last, looked, nil
}
