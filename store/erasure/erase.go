package erasure

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/query"
)

// requestEventsSQL locks all events of signature requests up to the last one of
// the plan, later copies of them from other sources, and recovered events: a
// transaction that recovers one may have begun before the order. It also locks events
// that were received long before the last one and have a later id: they were imported
// after the plan, by a transaction that could not see the order. And it locks events
// that were promoted after the plan from a conflict of one of these events: the plan
// counted the body as that of a redelivery. unrecognizedEventsSQL locks unrecognized
// events, the events that were decoded from them later, and those that were promoted
// from a conflict of such an event.
const (
	requestEventsSQL = `
SELECT e.id, e.event_key FROM lumin.events e
WHERE e.signature_request_id = ANY ($1)
  AND (e.id <= $2 OR e.source = 'recovered'
       OR e.received_at < (SELECT l.received_at - interval '1 hour' FROM lumin.events l WHERE l.id = $2)
       OR EXISTS (SELECT FROM lumin.events o WHERE o.event_key = e.event_key AND o.id <= $2)
       OR e.promoted_from <= $2
       OR EXISTS (SELECT FROM lumin.events f JOIN lumin.events o ON o.event_key = f.event_key WHERE f.id = e.promoted_from AND o.id <= $2))
ORDER BY e.id FOR UPDATE OF e NOWAIT`

	unrecognizedEventsSQL = `
SELECT e.id, e.event_key FROM lumin.events e
WHERE e.id = ANY ($1) OR e.decoded_from = ANY ($1)
   OR e.promoted_from = ANY (ARRAY(SELECT d.id FROM lumin.events d WHERE d.decoded_from = ANY ($1)))
ORDER BY e.id FOR UPDATE OF e NOWAIT`
)

// erase erases the events that eventsSQL returns, all rows that belong to them,
// and the rows of signature requests, in one transaction. It takes every lock
// with NOWAIT.
func erase(ctx context.Context, pool *pgxpool.Pool, orderID int64, requests []string, eventsSQL string, args ...any) (result outcome, err error) {
	err = pgx.BeginTxFunc(ctx, pool, query.ReadCommitted, func(tx pgx.Tx) error {
		result = erased
		// Calls that carry out the same order take turns.
		var open bool
		if err := tx.QueryRow(ctx, `SELECT finished_at IS NULL FROM lumin.erasures WHERE id = $1 FOR UPDATE`, orderID).Scan(&open); err != nil || !open {
			return err
		}
		// A plan that was made while the tables were small would read all of them.
		if _, err := tx.Exec(ctx, `SET LOCAL enable_seqscan = off`); err != nil {
			return err
		}
		var (
			id   int64
			key  [16]byte
			ids  = []int64{}
			keys = [][16]byte{}
		)
		err := query.Each(ctx, tx, "lock events", []any{&id, &key}, func() error {
			ids, keys = append(ids, id), append(keys, key)
			return nil
		}, eventsSQL, args...)
		if err != nil {
			return err
		}
		result, err = eraseEvents(ctx, tx, orderID, ids, keys, requests)
		return err
	})
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == pgerrcode.LockNotAvailable {
		return locked, nil
	}
	return result, err
}

// lockSQL locks every row that an erasure changes besides the events, in the
// order in which other code locks them.
const lockSQL = `
WITH d AS (SELECT FROM lumin.redeliveries WHERE event_id = ANY ($1) ORDER BY event_id, payload_sha256 FOR UPDATE NOWAIT),
     r AS (SELECT job_id, replay_id FROM lumin.runs WHERE event_key = ANY ($2) ORDER BY event_key, job_kind FOR UPDATE NOWAIT),
     f AS (SELECT job_id FROM lumin.failures WHERE event_key = ANY ($2) ORDER BY id FOR UPDATE NOWAIT),
     s AS (SELECT FROM lumin.signature_requests WHERE signature_request_id = ANY ($3) ORDER BY signature_request_id FOR UPDATE NOWAIT),
     a AS (SELECT FROM lumin.archived_files WHERE (signature_request_id = ANY ($3) OR event_key = ANY ($2)) AND erasure_id IS NULL
           ORDER BY event_key, file_type, rerun FOR UPDATE NOWAIT),
     j AS (SELECT j.id FROM lumin.river_job j
           WHERE j.id = ANY (ARRAY(SELECT job_id FROM r UNION SELECT job_id FROM f))
             AND lumin.run_key(j.args) = ANY ($2) AND j.state <> 'running' ORDER BY j.id FOR UPDATE NOWAIT)
SELECT (SELECT count(*) FROM d), (SELECT count(*) FROM r), (SELECT count(*) FROM f), (SELECT count(*) FROM s), (SELECT count(*) FROM a),
       ARRAY(SELECT id FROM j), (SELECT coalesce(bool_or(job_id IS NULL OR replay_id > 0), false) FROM r)`

// lockOtherJobsSQL locks the jobs of events whatever their runs say. It reads
// River's whole table, because that has no index on arguments.
const lockOtherJobsSQL = `
SELECT j.id FROM lumin.river_job j
WHERE lumin.run_key(j.args) = ANY ($1::uuid[]) AND j.state <> 'running' ORDER BY j.id FOR UPDATE NOWAIT`

const eraseSQL = `
WITH bodies AS (
    UPDATE lumin.events SET payload = NULL, payload_removed_at = now() WHERE id = ANY ($1) AND payload IS NOT NULL RETURNING id
), redeliveries AS (
    UPDATE lumin.redeliveries SET payload = NULL, promoted_key = NULL WHERE event_id = ANY ($1) AND payload IS NOT NULL RETURNING event_id
), runs AS (
    UPDATE lumin.runs r SET error = NULL, state = CASE WHEN o.ended THEN r.state ELSE 'cancelled' END, finished_at = coalesce(r.finished_at, now())
    FROM (SELECT event_key, job_kind, state IN ('succeeded', 'cancelled') AS ended, error IS NOT NULL AS had_error
          FROM lumin.runs WHERE event_key = ANY ($2)) o
    WHERE r.event_key = o.event_key AND r.job_kind = o.job_kind AND (o.had_error OR NOT o.ended)
    RETURNING o.ended, o.had_error
), failures AS (
    UPDATE lumin.failures SET errors = NULL WHERE event_key = ANY ($2) AND errors IS NOT NULL RETURNING id
), dismissals AS (
    DELETE FROM lumin.dismissals WHERE event_key = ANY ($2)
), files AS (
    UPDATE lumin.archived_files SET erasure_id = $5
    WHERE (signature_request_id = ANY ($3) OR event_key = ANY ($2)) AND erasure_id IS NULL RETURNING event_key
), jobs AS (
    DELETE FROM lumin.river_job WHERE id = ANY ($4)
), requests AS (
    DELETE FROM lumin.signature_requests WHERE signature_request_id = ANY ($3)
)
UPDATE lumin.erasures
SET bodies = bodies + (SELECT count(*) FROM bodies),
    redeliveries = redeliveries + (SELECT count(*) FROM redeliveries),
    errors = errors + (SELECT count(*) FROM runs WHERE had_error) + (SELECT count(*) FROM failures),
    runs_cancelled = runs_cancelled + (SELECT count(*) FROM runs WHERE NOT ended),
    files = files + (SELECT count(*) FROM files)
WHERE id = $5`

// jobRunningSQL uses River's index on states: few jobs are running.
const jobRunningSQL = `
SELECT EXISTS (
    SELECT FROM lumin.river_job j WHERE j.state = 'running' AND lumin.run_key(j.args) = ANY ($1::uuid[]))`

// eraseEvents erases events that are locked, with all rows that belong to them.
func eraseEvents(ctx context.Context, tx pgx.Tx, orderID int64, ids []int64, keys [][16]byte, requests []string) (outcome, error) {
	var (
		counts   [5]int64 // read so that PostgreSQL locks all rows
		jobs     []int64
		moreJobs bool
	)
	err := tx.QueryRow(ctx, lockSQL, ids, keys, requests).
		Scan(&counts[0], &counts[1], &counts[2], &counts[3], &counts[4], &jobs, &moreJobs)
	if err == nil && moreJobs {
		jobs, err = lockOtherJobs(ctx, tx, keys)
	}
	if err != nil {
		return erased, fmt.Errorf("lock rows to erase: %w", err)
	}
	if _, err := tx.Exec(ctx, eraseSQL, ids, keys, requests, jobs, orderID); err != nil {
		return erased, fmt.Errorf("remove erased data: %w", err)
	}
	var running bool
	if err := tx.QueryRow(ctx, jobRunningSQL, keys).Scan(&running); err != nil {
		return erased, fmt.Errorf("find running jobs: %w", err)
	}
	if running {
		return jobRunning, nil
	}
	return erased, nil
}

// lockOtherJobs also locks jobs whose ids are neither in runs nor in failures.
// A program of the version before this one queues runs without the id of their
// job. A replay replaces the id of a job that succeeded.
func lockOtherJobs(ctx context.Context, tx pgx.Tx, keys [][16]byte) ([]int64, error) {
	if _, err := tx.Exec(ctx, `SET LOCAL enable_seqscan = on`); err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, lockOtherJobsSQL, pgx.QueryExecModeCacheDescribe, keys)
	if err != nil {
		return nil, err
	}
	jobs, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err == nil {
		_, err = tx.Exec(ctx, `SET LOCAL enable_seqscan = off`)
	}
	return jobs, err
}
