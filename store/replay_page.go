package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
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
	Exhausted bool // a whole pass found nothing: the order needs no further page

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
	if limit <= 0 || limit > replayPageRuns {
		limit = replayPageRuns
	}
	if limit < replayPageRuns || order.Filter.Status == ReplayRetrying || order.Filter.Status == ReplayUnrecognized {
		return s.replayPage(ctx, order, from, jobs, limit, pager{0, 1})
	}
	var (
		pages [replayPagers]ReplayPage
		errs  [replayPagers]error
		all   sync.WaitGroup
	)
	for i := range pages {
		all.Go(func() { pages[i], errs[i] = s.replayPage(ctx, order, from, jobs, limit, pager{i, replayPagers}) })
	}
	all.Wait()
	return mergePages(pages[:]), errors.Join(errs[:]...)
}

// pager is one of those that take pages side by side.
type pager struct{ number, of int }

// mergePages makes one page of several that were taken from one position. It goes on
// where the first of them has come to; at its end, all begin anew.
func mergePages(pages []ReplayPage) (all ReplayPage) {
	all.Next = pages[0].Next
	for _, page := range pages {
		all.Enqueued += page.Enqueued
		all.Exhausted = all.Exhausted || page.Exhausted
		all.Wait = all.Wait || page.Wait
		if bytes.Compare(page.Next.key[:], all.Next.key[:]) < 0 || page.Next.id < all.Next.id {
			all.Next = page.Next
		}
	}
	for _, page := range pages {
		all.Next.found = all.Next.found || page.Next.found
	}
	all.Wait = all.Wait && all.Enqueued == 0
	return all
}

// errReplayOver ends a page whose order was ended while it was taken.
var errReplayOver = errors.New("the order was ended meanwhile")

func (s *Store) replayPage(ctx context.Context, order Replay, from ReplayPosition, jobs ReplayJobs, limit int, p pager) (page ReplayPage, err error) {
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
			end, err = s.missingPage(ctx, tx, order, from, jobs, limit, p, &page)
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
		page.Next.found = from.found || page.Enqueued > 0
		if !end {
			return s.countPage(ctx, tx, order, page, "")
		}
		nothing := !page.Next.found
		page.Next = ReplayPosition{}
		if !nothing {
			return s.countPage(ctx, tx, order, page, "")
		}
		var unknown []string
		if page.Wait, unknown, err = whatIsLeft(ctx, tx, order, jobs); err != nil {
			return err
		}
		page.Exhausted = !page.Wait
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

// leftSQL tells of what matches an order whether any of it has been held by others
// all the time, and which job types nobody could make jobs for.
func leftSQL(f ReplayFilter) string {
	kind, matching, older := "r.job_kind", f.matchingRuns(), " AND r.replay_id < @order"
	if f.Status == ReplayMissing {
		kind, matching, older = "t.kind", missingRuns, ""
	}
	return `
SELECT EXISTS (SELECT ` + matching + older + ` AND ` + kind + ` = ANY (@known::text[])),
       ARRAY(SELECT DISTINCT ` + kind + ` ` + matching + older + ` AND ` + kind + ` <> ALL (@known::text[]) ORDER BY 1)`
}

// whatIsLeft looks at an order once a whole pass has found nothing: whether it is
// worth to come again, and which job types are left that nobody at work knows.
func whatIsLeft(ctx context.Context, tx pgx.Tx, order Replay, jobs ReplayJobs) (again bool, unknown []string, err error) {
	if order.Filter.Status == ReplayUnrecognized {
		return false, nil, nil
	}
	args := order.Filter.args()
	args["order"], args["known"] = order.ID, slices.Collect(maps.Keys(jobs.Specs))
	err = tx.QueryRow(ctx, leftSQL(order.Filter), pgx.QueryExecModeCacheDescribe, args).Scan(&again, &unknown)
	if err != nil {
		return false, nil, fmt.Errorf("look what is left: %w", err)
	}
	elsewhere := func(kind string) bool { return slices.Contains(jobs.Elsewhere, kind) }
	return again || slices.ContainsFunc(unknown, elsewhere), unknown, nil
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
        again = r.again + (r.state = 'succeeded')::int
    FROM page p WHERE r.ctid = p.ctid -- locked, so it stays where it is
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

// takePage runs a statement that ends in enqueueTakenSQL, perhaps with more to be
// read, and wakes the workers.
func takePage(ctx context.Context, tx pgx.Tx, sql string, args pgx.NamedArgs, page *ReplayPage, more ...any) (last *[16]byte, err error) {
	var queues []string
	// Planned for the filter given: see ListEvents.
	if err := tx.QueryRow(ctx, sql, pgx.QueryExecModeCacheDescribe, args).Scan(append([]any{&page.Enqueued, &last, &queues}, more...)...); err != nil {
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

// missingPageSQL looks at this pager's share of the events after one id and up to
// another, and makes at most so many runs. It ends with the id up to which it has come.
//
// Events are locked, because retention and erasure may be about to take the event
// or its body: where they are, the event is left for another pass. They lock for
// more than an update, and the recorder, which counts a redelivery, for less: it is
// not in the way. Runs are made in the recorder's order, which is that of bytes.
const missingPageSQL = `
WITH first AS MATERIALIZED (
    SELECT e.id, t.kind ` + missingRuns + `
    AND e.id > @after AND e.id <= @until AND e.id % @pagers = @pager AND t.kind = ANY (@known::text[])
    ORDER BY e.id, t.kind LIMIT @limit
), held AS MATERIALIZED (
    SELECT e.event_key, f.kind, e.id FROM first f JOIN lumin.events e ON e.id = f.id
    WHERE e.payload_removed_at IS NULL
    FOR KEY SHARE OF e SKIP LOCKED
), taken AS (
    INSERT INTO lumin.runs (event_key, job_kind, event_id, replay_id)
    SELECT event_key, kind, id, @order FROM held ORDER BY event_key, kind COLLATE "C"
    ON CONFLICT (event_key, job_kind) DO NOTHING
    RETURNING event_key, job_kind
)` + enqueueTakenSQL + `, (SELECT CASE WHEN count(*) < @limit THEN @until ELSE max(id) END FROM first)`

// missingPage looks at a bounded number of events, oldest first, however few of
// them have a run to make.
func (s *Store) missingPage(ctx context.Context, tx pgx.Tx, order Replay, from ReplayPosition, jobs ReplayJobs, limit int, p pager, page *ReplayPage) (end bool, err error) {
	var until *int64
	err = tx.QueryRow(ctx, `SELECT max(id) FROM (SELECT id FROM lumin.events WHERE id > $1 ORDER BY id LIMIT $2) w`,
		from.id, max(replayPageRuns*p.of/len(order.Filter.Kinds), 1)).Scan(&until)
	if err != nil || until == nil {
		return err == nil, err
	}
	args := pageArgs(order, jobs, limit)
	args["after"], args["until"], args["pager"], args["pagers"] = from.id, *until, p.number, p.of
	_, err = takePage(ctx, tx, missingPageSQL, args, page, &page.Next.id)
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
	if err := insertEvents(ctx, tx, groups); err != nil {
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
