package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
)

// wakeParkedSQL gives parked runs a job. Attempts of earlier jobs of a run count.
// lumin.job_types has the settings of the jobs, so that every program can wake the
// runs of every job type. The defaults are for a job type that was registered by
// a program from before those columns.
const wakeParkedSQL = `
WITH parked AS MATERIALIZED (
    SELECT w.event_key, w.job_kind
    FROM (SELECT * FROM unnest($1::uuid[], $2::text[]) AS u (event_key, job_kind) ORDER BY event_key, job_kind) w
    CROSS JOIN LATERAL (
        SELECT FROM lumin.runs r WHERE r.event_key = w.event_key AND r.job_kind = w.job_kind AND r.state = 'parked'
        OFFSET 0 FOR UPDATE SKIP LOCKED) r
    LIMIT $3
), woken AS (
    UPDATE lumin.runs r SET state = 'pending', job_id = nextval('lumin.river_job_id_seq'), pending_since = now()
    FROM parked p WHERE r.event_key = p.event_key AND r.job_kind = p.job_kind
    RETURNING r.event_key, r.job_kind, r.replay_id, r.job_id, r.attempts
)
INSERT INTO lumin.river_job (id, args, kind, attempt, max_attempts, priority, queue, scheduled_at)
SELECT w.job_id, jsonb_build_object('event_key', w.event_key, 'replay_id', w.replay_id), w.job_kind,
       least(w.attempts, coalesce(t.max_attempts, 10) - 1), coalesce(t.max_attempts, 10), coalesce(t.priority, 1),
       coalesce(t.queue, 'default'), now()
FROM woken w LEFT JOIN lumin.job_types t ON t.kind = w.job_kind
RETURNING queue`

const wakeLaterSQL = `
SELECT lumin.wake_lane(r.event_key, r.job_kind) FROM lumin.runs r
WHERE r.event_key = $1 AND r.job_kind = $2 AND r.state = 'parked'`

// Wake gives a run a job of its own if it is still parked. If another transaction
// has locked the run, a job wakes its lane afterwards. It returns false if the run
// is not parked.
func (s *Store) Wake(ctx context.Context, run JobArgs) (parked bool, err error) {
	woken, err := s.wakeParked(ctx, run)
	if err != nil || woken > 0 {
		return woken > 0, err
	}
	tag, err := s.pool.Exec(ctx, wakeLaterSQL, [16]byte(run.EventKey), run.JobKind)
	if err != nil {
		return false, fmt.Errorf("wake a lane: %w", err)
	}
	return tag.RowsAffected() > 0, nil
}

// wakeParked gives those of the runs that are parked a job of their own, and
// returns their number.
func (s *Store) wakeParked(ctx context.Context, runs ...JobArgs) (woken int, err error) {
	if len(runs) == 0 {
		return 0, nil
	}
	keys, kinds := make([][16]byte, len(runs)), make([]string, len(runs))
	for i, r := range runs {
		keys[i], kinds[i] = r.EventKey, r.JobKind
	}
	err = pgx.BeginTxFunc(ctx, s.pool, query.ReadCommitted, func(tx pgx.Tx) error {
		queues, err := query.Column[string](ctx, tx, "wake parked runs", wakeParkedSQL, keys, kinds, len(runs))
		if woken = len(queues); err != nil || woken == 0 {
			return err
		}
		slices.Sort(queues)
		return WakeTx(ctx, tx, slices.Compact(queues))
	})
	return woken, err
}

// parkedPageSQL reads a page of parked runs, like pendingPageSQL, and returns
// those to wake: the head of each lane, and every run of a job type that has
// stopped being ordered.
const parkedPageSQL = `
WITH page AS MATERIALIZED (
    SELECT r.event_key, r.job_kind, r.event_id, r.pending_since
    FROM lumin.runs r WHERE r.state = 'parked' AND r.pending_since > $1
    ORDER BY r.pending_since FETCH FIRST $2 ROWS WITH TIES
), lanes AS MATERIALIZED (
    SELECT DISTINCT p.job_kind, t.when_failed, e.signature_request_id
    FROM page p
    JOIN lumin.job_types t ON t.kind = p.job_kind AND t.when_failed IS NOT NULL
    CROSS JOIN LATERAL (SELECT signature_request_id FROM lumin.events WHERE id = p.event_id OFFSET 0) e
), heads AS (
    SELECT h.event_key, l.job_kind FROM lanes l
    CROSS JOIN LATERAL (
        SELECT r.event_key, r.state
        FROM (SELECT event_key, event_time FROM lumin.events WHERE signature_request_id = l.signature_request_id OFFSET 0) e
        CROSS JOIN LATERAL (
            SELECT r.event_key, r.state FROM lumin.runs r
            WHERE r.event_key = e.event_key AND r.job_kind = l.job_kind
              AND (r.state IN ('pending', 'parked') OR r.state = 'failed' AND l.when_failed = 'hold') OFFSET 0) r
        ORDER BY e.event_time, e.event_key LIMIT 1
    ) h
    WHERE h.state = 'parked'
)
SELECT event_key, job_kind FROM heads
UNION ALL
SELECT p.event_key, p.job_kind FROM page p
WHERE NOT EXISTS (SELECT FROM lumin.job_types t WHERE t.kind = p.job_kind AND t.when_failed IS NOT NULL)`

const parkedPageEndSQL = `
SELECT count(*), max(pending_since) FROM (
    SELECT pending_since FROM lumin.runs WHERE state = 'parked' AND pending_since > $1
    ORDER BY pending_since FETCH FIRST $2 ROWS WITH TIES) page`

// SweepParked wakes parked runs that nothing holds back. These are heads of lanes
// that were not woken, for example because of a crash, and runs of job types that
// have stopped being ordered. It checks a bounded number of parked runs, like
// [Store.Sweep].
func (s *Store) SweepParked(ctx context.Context, after time.Time) (woken int, next time.Time, err error) {
	return s.sweepParked(ctx, after, sweepPage)
}

func (s *Store) sweepParked(ctx context.Context, after time.Time, page int) (woken int, next time.Time, err error) {
	var (
		checked int
		last    *time.Time
		run     JobArgs
		waiting []JobArgs
	)
	// Planned for the current state of the tables.
	if err := s.pool.QueryRow(ctx, parkedPageEndSQL, pgx.QueryExecModeCacheDescribe, after, page).Scan(&checked, &last); err != nil {
		return 0, after, fmt.Errorf("find parked runs: %w", err)
	}
	if checked == 0 {
		return 0, time.Time{}, nil
	}
	err = query.Each(ctx, s.pool, "find parked heads", []any{(*[16]byte)(&run.EventKey), &run.JobKind}, func() error {
		waiting = append(waiting, run)
		return nil
	}, parkedPageSQL, pgx.QueryExecModeCacheDescribe, after, page)
	if err != nil {
		return 0, after, err
	}
	if woken, err = s.wakeParked(ctx, waiting...); err != nil {
		return 0, after, err
	}
	if checked >= page {
		next = *last
	}
	return woken, next, nil
}
