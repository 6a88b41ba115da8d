package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Erase carries an erasure out as far as it can be without waiting for others,
// and returns how far it has come: what somebody holds, and the jobs that are at
// work on its events, are left for another call. It may be stopped and called
// again at any time, also by several at once.
//
// The erasure is finished after a pass over all of it that had to leave nothing,
// begun when all recordings were over that could not see the pass before, and once
// the archived files are gone. Those are removed by a program that has their bucket.
func (s *Store) Erase(ctx context.Context, id int64) (Erasure, error) {
	e, err := s.Erasure(ctx, id)
	if err != nil || e.FinishedAt != nil {
		return e, err
	}
	for range 2 {
		left, err := s.erasePass(ctx, e)
		if err == nil && !left {
			err = s.awaitRecordings(ctx)
		}
		if err != nil {
			return e, fmt.Errorf("erase: %w", err)
		}
		if left {
			return s.Erasure(ctx, id)
		}
	}
	_, err = s.pool.Exec(ctx, `
		UPDATE lumin.erasures SET finished_at = now()
		WHERE id = $1 AND finished_at IS NULL AND NOT EXISTS (SELECT FROM lumin.archived_files WHERE erasure_id = $1)`, id)
	if err != nil {
		return e, fmt.Errorf("finish erasure %d: %w", id, err)
	}
	return s.Erasure(ctx, id)
}

// UnfinishedErasures are the ids of those that may have left something.
func (s *Store) UnfinishedErasures(ctx context.Context) ([]int64, error) {
	rows, err := s.pool.Query(ctx, `SELECT id FROM lumin.erasures WHERE finished_at IS NULL ORDER BY id`)
	if err != nil {
		return nil, fmt.Errorf("look for unfinished erasures: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, fmt.Errorf("look for unfinished erasures: %w", err)
	}
	return ids, nil
}

// Of a signature request all events up to the last go, and copies of them that
// another source has brought since. Of unrecognized events also what was decoded
// from them.
const (
	erasedRequestsSQL = `
SELECT e.id, e.event_key FROM lumin.events e
WHERE e.signature_request_id = ANY ($1)
  AND (e.id <= $2 OR EXISTS (SELECT FROM lumin.events o WHERE o.event_key = e.event_key AND o.id <= $2))
ORDER BY e.id FOR UPDATE OF e NOWAIT`

	erasedEventsSQL = `
SELECT e.id, e.event_key FROM lumin.events e
WHERE e.id = ANY ($1) OR e.decoded_from = ANY ($1)
ORDER BY e.id FOR UPDATE OF e NOWAIT`
)

// erasePage is how many signature requests, or unrecognized events, are erased in
// one transaction.
const erasePage = 50

// erasePass erases what it can, and tells whether anything is left to come back for.
func (s *Store) erasePass(ctx context.Context, e Erasure) (left bool, err error) {
	leftRequests, err := eraseEach(e.SignatureRequestIDs, func(ids []string) (eraseOutcome, error) {
		return s.erasePart(ctx, e.ID, ids, erasedRequestsSQL, ids, e.LastEventID)
	})
	if err != nil {
		return true, err
	}
	leftEvents, err := eraseEach(e.EventIDs, func(ids []int64) (eraseOutcome, error) {
		return s.erasePart(ctx, e.ID, []string{}, erasedEventsSQL, ids)
	})
	return leftRequests || leftEvents, err
}

// eraseOutcome is what came of an attempt to erase something.
type eraseOutcome int

const (
	erased         eraseOutcome = iota
	erasedButJob                // and a job works on it, whose row will have to go as well
	heldBySomebody              // nothing was changed
)

// eraseEach erases page by page, and one by one where somebody holds any of a page.
func eraseEach[ID any](ids []ID, erase func([]ID) (eraseOutcome, error)) (left bool, err error) {
	for page := range slices.Chunk(ids, erasePage) {
		outcome, err := erase(page)
		if err != nil {
			return true, err
		}
		if outcome == heldBySomebody && len(page) > 1 {
			for one := range slices.Chunk(page, 1) {
				if outcome, err = erase(one); err != nil {
					return true, err
				}
				left = left || outcome != erased
			}
			continue
		}
		left = left || outcome != erased
	}
	return left, nil
}

// erasePart erases the events that a query names, with all that belongs to them,
// and what is kept of signature requests, in one transaction. It waits for nobody
// who holds any of it, so that it cannot be part of a deadlock.
func (s *Store) erasePart(ctx context.Context, erasureID int64, requests []string, eventsSQL string, args ...any) (outcome eraseOutcome, err error) {
	err = pgx.BeginTxFunc(ctx, s.pool, readCommitted, func(tx pgx.Tx) error {
		outcome = erased
		// Two that carry out the same erasure take turns.
		var open bool
		if err := tx.QueryRow(ctx, `SELECT finished_at IS NULL FROM lumin.erasures WHERE id = $1 FOR UPDATE`, erasureID).Scan(&open); err != nil || !open {
			return err
		}
		// The planner takes arguments of jobs for less telling than they are.
		if _, err := tx.Exec(ctx, `SET LOCAL enable_seqscan = off`); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, eventsSQL, args...)
		if err != nil {
			return err
		}
		var (
			id   int64
			key  [16]byte
			ids  = []int64{}
			keys = [][16]byte{}
		)
		_, err = pgx.ForEachRow(rows, []any{&id, &key}, func() error {
			ids, keys = append(ids, id), append(keys, key)
			return nil
		})
		if err != nil {
			return err
		}
		outcome, err = eraseAll(ctx, tx, erasureID, ids, keys, requests)
		return err
	})
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == pgerrcode.LockNotAvailable {
		return heldBySomebody, nil
	}
	return outcome, err
}

// lockErasedSQL takes locks on all that an erasure changes beside the events, in
// the order in which others take them.
const lockErasedSQL = `
WITH d AS (SELECT FROM lumin.redeliveries WHERE event_id = ANY ($1) ORDER BY event_id, payload_sha256 FOR UPDATE NOWAIT),
     r AS (SELECT FROM lumin.runs WHERE event_key = ANY ($2) ORDER BY event_key, job_kind FOR UPDATE NOWAIT),
     f AS (SELECT FROM lumin.failures WHERE event_key = ANY ($2) ORDER BY id FOR UPDATE NOWAIT),
     s AS (SELECT FROM lumin.signature_requests WHERE signature_request_id = ANY ($3) ORDER BY signature_request_id FOR UPDATE NOWAIT),
     a AS (SELECT FROM lumin.archived_files WHERE (signature_request_id = ANY ($3) OR event_key = ANY ($2)) AND erasure_id IS NULL
           ORDER BY event_key, file_type, rerun FOR UPDATE NOWAIT),
     j AS (SELECT j.id FROM unnest($2::uuid[]) AS k (event_key)
           JOIN lumin.river_job j ON j.args @> jsonb_build_object('event_key', k.event_key)
           WHERE j.state <> 'running' ORDER BY j.id FOR UPDATE OF j NOWAIT)
SELECT (SELECT count(*) FROM d), (SELECT count(*) FROM r), (SELECT count(*) FROM f), (SELECT count(*) FROM s), (SELECT count(*) FROM a),
       ARRAY(SELECT id FROM j)`

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

// eraseAll erases what belongs to events that are locked.
func eraseAll(ctx context.Context, tx pgx.Tx, erasureID int64, ids []int64, keys [][16]byte, requests []string) (eraseOutcome, error) {
	var (
		locked [5]int64 // counted so that all of it is locked
		jobs   []int64
	)
	if err := tx.QueryRow(ctx, lockErasedSQL, ids, keys, requests).Scan(&locked[0], &locked[1], &locked[2], &locked[3], &locked[4], &jobs); err != nil {
		return erased, fmt.Errorf("lock what is to be erased: %w", err)
	}
	if _, err := tx.Exec(ctx, eraseSQL, ids, keys, requests, jobs, erasureID); err != nil {
		return erased, fmt.Errorf("remove what is to be erased: %w", err)
	}
	var atWork bool
	err := tx.QueryRow(ctx, `
		SELECT EXISTS (
		    SELECT FROM unnest($1::uuid[]) AS k (event_key)
		    JOIN lumin.river_job j ON j.args @> jsonb_build_object('event_key', k.event_key)
		    WHERE j.state = 'running')`, keys).Scan(&atWork)
	if err != nil {
		return erased, fmt.Errorf("look for jobs at work: %w", err)
	}
	if atWork {
		return erasedButJob, nil
	}
	return erased, nil
}
