package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/lumin"
)

// ReplayJobs is what a program knows about the jobs that it makes for an order.
type ReplayJobs struct {
	Specs     map[string]JobSpec // by kind
	Route     func(source string, event lumin.EventType) []JobSpec
	Elsewhere []string // kinds that other programs at work know, and this one does not
}

// ReplayPosition is how far a pass over the runs of an order has come. It only
// saves looking at the same ones again: what is done is told by the runs' own
// state, and from the zero position everything is found that is left.
type ReplayPosition struct {
	key   [16]byte // of the last run
	id    int64    // of the last event or job
	found bool     // whether this pass has put anything to pending
}

// ReplayPage is what one page has done.
type ReplayPage struct {
	Enqueued  int
	Next      ReplayPosition
	Exhausted bool // nothing is left: the order needs no further page

	// Wait says that a whole pass found nothing, and yet something is left: for a
	// moment, because somebody holds it, or for another program that knows its kind.
	Wait bool
}

// replayPageRuns is how many runs are put to pending in one transaction: so many
// that the wait for the disk at its end does not count for much.
const replayPageRuns = 20_000

// replayPagers is how many pages of runs are taken side by side: what the database
// does for one is the work of one core.
const replayPagers = 2

// ReplayPage puts the next runs of an order to pending, at most limit of them (0:
// as many as do well), with a job each, in one transaction or a few. It acts on the
// job types in jobs only. It may be stopped and called again at any time, from the
// zero position or any that it returned, also by several at once. Once an order is
// over it does nothing and returns Exhausted.
func (s *Store) ReplayPage(ctx context.Context, order Replay, from ReplayPosition, jobs ReplayJobs, limit int) (ReplayPage, error) {
	pagers := replayPagers
	if limit <= 0 || limit > replayPageRuns {
		limit = replayPageRuns
	}
	if limit < replayPageRuns || order.Filter.Status == ReplayRetrying || order.Filter.Status == ReplayUnrecognized {
		pagers = 1
	}
	var (
		pages = make([]ReplayPage, pagers)
		errs  = make([]error, pagers)
		all   sync.WaitGroup
	)
	for i := range pages {
		all.Go(func() { pages[i], errs[i] = s.replayPage(ctx, order, from, jobs, limit, i) })
	}
	all.Wait()
	return mergePages(pages), errors.Join(errs...)
}

// mergePages makes one page of several that were taken from one position. Pages of
// runs go on where the first of them has come to; those of events lie side by side.
// At the end, all begin anew.
func mergePages(pages []ReplayPage) ReplayPage {
	all := pages[0]
	for _, page := range pages[1:] {
		all.Enqueued += page.Enqueued
		all.Exhausted = all.Exhausted || page.Exhausted
		all.Wait = all.Wait || page.Wait
		all.Next.found = all.Next.found || page.Next.found
		all.Next.id = max(all.Next.id, page.Next.id)
		if bytes.Compare(page.Next.key[:], all.Next.key[:]) < 0 {
			all.Next.key = page.Next.key
		}
	}
	all.Wait = all.Wait && all.Enqueued == 0
	return all
}

// errReplayOver ends a page whose order was ended while it was taken.
var errReplayOver = errors.New("the order was ended meanwhile")

func (s *Store) replayPage(ctx context.Context, order Replay, from ReplayPosition, jobs ReplayJobs, limit, pager int) (page ReplayPage, err error) {
	err = pgx.BeginTxFunc(ctx, s.pool, readCommitted, func(tx pgx.Tx) error {
		page = ReplayPage{}
		var open bool
		err := tx.QueryRow(ctx, `SELECT state = 'running' AND enqueued_at IS NULL FROM lumin.replays WHERE id = $1`, order.ID).Scan(&open)
		if errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("replay %d: %w", order.ID, ErrNotFound)
		}
		if err != nil {
			return fmt.Errorf("look at replay %d: %w", order.ID, err)
		}
		if !open {
			return errReplayOver
		}
		var end bool
		switch order.Filter.Status {
		case ReplayMissing:
			end, err = s.missingPage(ctx, tx, order, from, jobs, limit, pager, &page)
		case ReplayRetrying:
			end, err = s.retryingPage(ctx, tx, order, from, jobs, limit, &page)
		case ReplayUnrecognized:
			end, err = s.unrecognizedPage(ctx, tx, order, from, jobs, limit, &page)
		default:
			end, err = s.runsPage(ctx, tx, order, from, jobs, limit, &page)
		}
		if err != nil {
			return fmt.Errorf("take a page of replay %d: %w", order.ID, err)
		}
		found := from.found || page.Enqueued > 0
		page.Next.found = found
		if !end {
			return s.countPage(ctx, tx, order, page, "")
		}
		page.Next = ReplayPosition{}
		left, unknown, err := whatIsLeft(ctx, tx, order, jobs, found)
		if err != nil {
			return err
		}
		page.Wait, page.Exhausted = left && !found, !left
		note := ""
		if page.Exhausted && len(unknown) > 0 {
			note = fmt.Sprintf("runs of job types that the program which carried this out does not know were left: %q", unknown)
		}
		return s.countPage(ctx, tx, order, page, note)
	})
	if errors.Is(err, errReplayOver) {
		return ReplayPage{Exhausted: true}, nil
	}
	return page, err
}

// whatIsLeft looks at an order at the end of a pass over it, which has found
// something or not: whether it is worth to come again, for what others have held or
// know, and which job types are left that nobody at work knows.
func whatIsLeft(ctx context.Context, tx pgx.Tx, order Replay, jobs ReplayJobs, found bool) (again bool, unknown []string, err error) {
	var left []PlannedReplay
	switch f := order.Filter; f.Status {
	case ReplayUnrecognized:
		return found, nil, nil
	case ReplayMissing:
		left, err = planMissing(ctx, tx, f)
	default:
		args := f.args()
		args["order"] = order.ID
		left, err = planRuns(ctx, tx, f.matchingRuns()+" AND r.replay_id < @order", args)
	}
	if err != nil {
		return false, nil, fmt.Errorf("look what is left: %w", err)
	}
	for _, l := range left {
		if _, known := jobs.Specs[l.Kind]; known || slices.Contains(jobs.Elsewhere, l.Kind) {
			again = true
		} else {
			unknown = append(unknown, l.Kind)
		}
	}
	return again, unknown, nil
}

// countPage adds a page to its order, or has it rolled back: a cancel or a refusal
// that came first ends the order, and one that comes now waits for the page. A page
// that changed nothing writes nothing.
func (s *Store) countPage(ctx context.Context, tx pgx.Tx, order Replay, page ReplayPage, note string) error {
	if page.Enqueued == 0 && !page.Exhausted {
		return nil
	}
	tag, err := tx.Exec(ctx, `
		UPDATE lumin.replays SET enqueued = enqueued + $2, error = coalesce(nullif($4, ''), error),
		    enqueued_at = CASE WHEN $3 THEN now() END
		WHERE id = $1 AND state = 'running' AND enqueued_at IS NULL`, order.ID, page.Enqueued, page.Exhausted, note)
	if err != nil {
		return fmt.Errorf("count a page of replay %d: %w", order.ID, err)
	}
	if tag.RowsAffected() == 0 {
		return errReplayOver
	}
	return nil
}

// runsPageSQL takes a page of failed, cancelled or succeeded runs.
//
// Only runs of older orders: one that failed again under this order would
// otherwise be replayed by it for ever. What somebody else has locked, such as
// another page, is skipped: afterwards it is pending, or found by another pass.
//
// Of succeeded and cancelled runs the event is locked as well, because retention
// and erasure may be about to take its body: where they are, the run is left for
// another pass. The recorder, which locks for less, is not in the way.
func runsPageSQL(f ReplayFilter) string {
	lock := `FOR UPDATE OF r SKIP LOCKED`
	if f.Status == ReplaySucceeded || f.Status == ReplayCancelled {
		lock += ` FOR KEY SHARE OF e SKIP LOCKED`
	}
	return `
WITH page AS (
    SELECT r.ctid ` + f.matchingRuns() + `
    AND r.replay_id < @order AND r.job_kind = ANY (@known::text[]) AND r.event_key >= @after::uuid
    ORDER BY r.event_key, r.job_kind LIMIT @limit
    ` + lock + `
), taken AS (
    UPDATE lumin.runs r
    SET state = 'pending', replay_id = @order, job_id = NULL, pending_since = now(), finished_at = NULL,
        rerun = r.rerun + (r.state = 'succeeded')::int
    -- The rows are locked, so their ctid cannot change. A join would scan the
    -- whole table.
    WHERE r.ctid = ANY (ARRAY(SELECT ctid FROM page))
    RETURNING r.event_key, r.job_kind
)` + enqueueTakenSQL
}

// enqueueTakenSQL puts the jobs of the runs in taken into the queue, and tells how
// many they are, the last event key, and the queues to wake. River's own way, by
// COPY, took twice as long for a page.
const enqueueTakenSQL = `
, jobs AS (
    INSERT INTO lumin.river_job (args, kind, max_attempts, priority, queue)
    SELECT jsonb_build_object('event_key', t.event_key, 'replay_id', @order::bigint), t.job_kind, s.max_attempts, s.priority, s.queue
    FROM taken t
    JOIN unnest(@known::text[], @max_attempts::smallint[], @priorities::smallint[], @queues::text[])
         AS s (kind, max_attempts, priority, queue) ON s.kind = t.job_kind
    ORDER BY t.event_key, t.job_kind
    RETURNING queue
)
SELECT (SELECT count(*) FROM jobs), (SELECT event_key FROM taken ORDER BY 1 DESC LIMIT 1), (SELECT coalesce(array_agg(DISTINCT queue), '{}') FROM jobs)`

// pageArgs are the filter of an order and how to make the jobs of each kind.
func pageArgs(order Replay, jobs ReplayJobs, limit int) pgx.NamedArgs {
	var (
		kinds, queues        []string
		attempts, priorities []int16
	)
	for kind, spec := range jobs.Specs {
		kinds, queues = append(kinds, kind), append(queues, spec.Queue)
		attempts = append(attempts, int16(spec.MaxAttempts))
		// Behind the jobs of fresh events, where the queue holds both.
		priorities = append(priorities, int16(min(spec.Priority+1, lowestPriority)))
	}
	args := order.Filter.args()
	args["order"], args["limit"] = order.ID, limit
	args["known"], args["queues"], args["max_attempts"], args["priorities"] = nonNil(kinds), nonNil(queues), attempts, priorities
	return args
}

func (s *Store) runsPage(ctx context.Context, tx pgx.Tx, order Replay, from ReplayPosition, jobs ReplayJobs, limit int, page *ReplayPage) (end bool, err error) {
	args := pageArgs(order, jobs, limit)
	args["after"] = from.key
	last, err := takePage(ctx, tx, runsPageSQL(order.Filter), args, page)
	if last != nil {
		page.Next.key = *last
	}
	return page.Enqueued < limit, err
}

// takePage runs a statement that ends in enqueueTakenSQL, and wakes the workers.
func takePage(ctx context.Context, tx pgx.Tx, sql string, args pgx.NamedArgs, page *ReplayPage) (last *[16]byte, err error) {
	var queues []string
	// Planned for the filter given: see ListEvents.
	if err := tx.QueryRow(ctx, sql, pgx.QueryExecModeCacheDescribe, args).Scan(&page.Enqueued, &last, &queues); err != nil {
		return nil, err
	}
	return last, wakeWorkers(ctx, tx, queues)
}

// wakeWorkers notifies River's clients as River does when it inserts a job.
func wakeWorkers(ctx context.Context, tx pgx.Tx, queues []string) error {
	_, err := tx.Exec(ctx, `SELECT pg_notify('lumin.river_insert', json_build_object('queue', q)::text) FROM unnest($1::text[]) q`, queues)
	if err != nil {
		return fmt.Errorf("wake the workers: %w", err)
	}
	return nil
}

// lowestPriority is River's.
const lowestPriority = 4

// windowSQL is the ids, the first and the last, of so many events behind one and
// some more.
const windowSQL = `
SELECT min(id), max(id) FROM (SELECT id FROM lumin.events WHERE id > $1 ORDER BY id OFFSET $2 LIMIT $3) w`

// missingPageSQL makes runs for a window of events, and at most so many.
//
// Events are locked, because retention and erasure may be about to take the event
// or its body: where they are, the event is left for another pass. They lock for
// more than an update, and the recorder, which counts a redelivery, for less: it is
// not in the way. Runs are made in the recorder's order, which is that of bytes.
func missingPageSQL(f ReplayFilter) string {
	return `
WITH held AS MATERIALIZED (
    SELECT e.event_key, t.kind, e.id ` + f.missingRuns() + `
    AND e.id BETWEEN @first AND @last AND t.kind = ANY (@known::text[])
    ORDER BY e.id, t.kind LIMIT @limit
    FOR KEY SHARE OF e SKIP LOCKED
), taken AS (
    INSERT INTO lumin.runs (event_key, job_kind, event_id, replay_id)
    SELECT event_key, kind, id, @order FROM held ORDER BY event_key, kind COLLATE "C", id
    ON CONFLICT (event_key, job_kind) DO NOTHING
    RETURNING event_key, job_kind
)` + enqueueTakenSQL
}

// missingPage looks at a bounded number of events, oldest first, however few of
// them have a run to make. Each pager has a window of its own, behind those of the
// pagers before it.
func (s *Store) missingPage(ctx context.Context, tx pgx.Tx, order Replay, from ReplayPosition, jobs ReplayJobs, limit, pager int, page *ReplayPage) (end bool, err error) {
	events := max(limit/len(order.Filter.Kinds), 1)
	var first, last *int64
	err = tx.QueryRow(ctx, windowSQL, from.id, pager*events, events).Scan(&first, &last)
	if err != nil || last == nil {
		return pager == 0, err
	}
	page.Next.id = *last
	args := pageArgs(order, jobs, limit)
	args["first"], args["last"] = *first, *last
	_, err = takePage(ctx, tx, missingPageSQL(order.Filter), args, page)
	return false, err
}

// retryingPageSQL moves jobs that wait for their next attempt to now. The order's
// number goes into run and job, so that the order is done with them, and an
// attempt that was given up for dead acts no more.
func retryingPageSQL(f ReplayFilter) string {
	return `
WITH page AS (
    SELECT j.id, r.event_key, r.job_kind ` + f.matchingRuns() + `
    AND r.replay_id < @order AND r.job_kind = ANY (@known::text[]) AND j.id > @after
    ORDER BY j.id LIMIT @limit
    FOR UPDATE OF j, r SKIP LOCKED
), moved AS (
    UPDATE lumin.runs r SET replay_id = @order, job_id = p.id
    FROM page p WHERE r.event_key = p.event_key AND r.job_kind = p.job_kind
)
UPDATE lumin.river_job j
SET state = 'available', scheduled_at = now(), args = jsonb_set(j.args, '{replay_id}', to_jsonb(@order::bigint))
FROM page p WHERE j.id = p.id
RETURNING j.id, j.queue`
}

func (s *Store) retryingPage(ctx context.Context, tx pgx.Tx, order Replay, from ReplayPosition, jobs ReplayJobs, limit int, page *ReplayPage) (end bool, err error) {
	args := pageArgs(order, jobs, limit)
	args["after"] = from.id
	rows, err := tx.Query(ctx, retryingPageSQL(order.Filter), pgx.QueryExecModeCacheDescribe, args)
	if err != nil {
		return false, err
	}
	var (
		id     int64
		queue  string
		queues []string
	)
	_, err = pgx.ForEachRow(rows, []any{&id, &queue}, func() error {
		page.Enqueued++
		page.Next.id = max(page.Next.id, id)
		if !slices.Contains(queues, queue) {
			queues = append(queues, queue)
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	return page.Enqueued < limit, wakeWorkers(ctx, tx, queues)
}

// unrecognizedPage makes events of their own out of unrecognized ones that have an
// identity now, the way a delivery of them would.
func (s *Store) unrecognizedPage(ctx context.Context, tx pgx.Tx, order Replay, from ReplayPosition, jobs ReplayJobs, limit int, page *ReplayPage) (end bool, err error) {
	events, err := readUnrecognized(ctx, tx, order.Filter, from.id, limit)
	if err != nil || len(events) == 0 {
		return err == nil, err
	}
	var (
		batch []*pending
		ids   = map[identity]int64{}
	)
	for _, u := range events {
		page.Next.id = u.id
		if u.delivery.Envelope == nil {
			continue
		}
		d := u.delivery
		d.Jobs = jobs.Route(d.Source, d.Envelope.EventType)
		p := &pending{delivery: &d, key: d.key()}
		if id := (identity{p.key, d.Source}); ids[id] == 0 { // two bodies may tell the same event
			batch, ids[id] = append(batch, p), u.id
		}
	}
	if len(batch) == 0 {
		return false, nil
	}
	groups := fold(batch)
	if err := insertEvents(ctx, tx, insertEventsSQL, groups); err != nil {
		return false, err
	}
	for _, g := range groups {
		if !g.inserted {
			continue // it has come as it should by now
		}
		page.Enqueued++
		if _, err := tx.Exec(ctx, `UPDATE lumin.events SET decoded_from = $2 WHERE id = $1`, g.eventID, ids[g.identity]); err != nil {
			return false, fmt.Errorf("note what an event was decoded from: %w", err)
		}
	}
	return false, s.insertRuns(ctx, tx, groups, order.ID)
}
