package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
)

// sweepPage bounds the runs and jobs that one statement of a sweep checks.
const sweepPage = 5000

// A pending run without a live job would wait forever. Runs younger than a
// minute are skipped, because River may be finishing their job. A page ends
// between two times, because many runs may have become pending at the same
// time.
const pendingPageSQL = `
SELECT event_key, job_kind, replay_id, job_id, attempts, pending_since
FROM lumin.runs
WHERE state = 'pending' AND pending_since > $1 AND pending_since < now() - interval '1 minute'
ORDER BY pending_since FETCH FIRST $2 ROWS WITH TIES`

// The job of a run is found by its id. It must also be a job of this run and of
// its newest replay, because only such a job can work on it. A job that has ended
// without the run may still be there: sweepEndedSQL does not find it if no
// program swept for an hour. Its state and errors are then those of the run.
// OFFSET 0: see recordSQL.
const sweepOrphansSQL = `
SELECT count(*) FROM (
    SELECT lumin.settle_failure(w.event_key, w.job_kind, w.replay_id, j.id,
               CASE j.state::text WHEN 'cancelled' THEN 'cancelled' ELSE 'failed' END, coalesce(j.attempt, w.attempts),
               CASE WHEN j.id IS NULL THEN ` + jobGone + ` ELSE j.errors END) AS settled
    FROM ` + sweptRuns + `
    LEFT JOIN LATERAL (
        SELECT j.id, j.state, j.attempt, j.errors, ` + liveJob + ` AS live FROM lumin.river_job j
        WHERE j.id = w.job_id AND j.state <> 'completed' AND j.kind = w.job_kind
          AND lumin.run_key(j.args) = w.event_key AND lumin.run_replay(j.args) = w.replay_id
        OFFSET 0) j ON true
    WHERE j.live IS NOT TRUE
) s WHERE settled`

// A program of the version before this one inserts runs without the id of their
// job. The job is found by its arguments, for which River's table has no index.
// The statement therefore reads all live jobs once.
const sweepUnknownSQL = `
WITH live AS MATERIALIZED (
    SELECT j.kind, j.args ->> 'event_key' AS event_key, j.args -> 'replay_id' AS replay_id FROM lumin.river_job j
    WHERE ` + liveJob + `
)
SELECT count(*) FROM (
    SELECT lumin.settle_failure(w.event_key, w.job_kind, w.replay_id, NULL, 'failed', w.attempts, ` + jobGone + `) AS settled
    FROM ` + sweptRuns + `
    WHERE NOT EXISTS (
        SELECT FROM live l
        WHERE l.event_key = w.event_key::text AND l.kind = w.job_kind AND l.replay_id = to_jsonb(w.replay_id))
) s WHERE settled`

const (
	liveJob   = `j.state IN ('available', 'pending', 'retryable', 'running', 'scheduled')`
	jobGone   = `ARRAY[jsonb_build_object('at', now(), 'attempt', w.attempts, 'error', 'its job is gone from the queue', 'trace', '')]`
	sweptRuns = `unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::integer[]) AS w (event_key, job_kind, replay_id, job_id, attempts)`
)

// Sweep settles pending runs whose job is gone, or has ended without them. It checks a
// bounded number of runs that became pending after the given time. It returns the
// start of the next sweep: the zero time if it has checked all runs.
func (s *Store) Sweep(ctx context.Context, after time.Time) (settled int, next time.Time, err error) {
	return s.sweep(ctx, after, sweepPage)
}

func (s *Store) sweep(ctx context.Context, after time.Time, page int) (settled int, next time.Time, err error) {
	pending, next, err := s.pendingPage(ctx, after, page)
	if err != nil {
		return 0, after, err
	}
	known, unknown := pending.split()
	for sql, runs := range map[string]pendingRuns{sweepOrphansSQL: known, sweepUnknownSQL: unknown} {
		if len(runs) == 0 {
			continue
		}
		var orphans int
		if err := s.pool.QueryRow(ctx, sql, runs.args()...).Scan(&orphans); err != nil {
			return settled, after, fmt.Errorf("sweep pending runs: %w", err)
		}
		settled += orphans
	}
	return settled, next, nil
}

// pendingRun is a run of pendingPageSQL.
type pendingRun struct {
	key      [16]byte
	kind     string
	replayID int64
	jobID    *int64 // nil if an older program inserted the run
	attempts int32
}

type pendingRuns []pendingRun

// pendingPage reads the next page of pending runs, and where the page after it
// begins: the zero time if there is none.
func (s *Store) pendingPage(ctx context.Context, after time.Time, page int) (runs pendingRuns, next time.Time, err error) {
	var r pendingRun
	err = query.Each(ctx, s.pool, "list pending runs", []any{&r.key, &r.kind, &r.replayID, &r.jobID, &r.attempts, &next}, func() error {
		runs = append(runs, r)
		return nil
	}, pendingPageSQL, after, page)
	if len(runs) < page {
		next = time.Time{}
	}
	return runs, next, err
}

// split separates the runs that know the id of their job from the others.
func (runs pendingRuns) split() (known, unknown pendingRuns) {
	for _, r := range runs {
		if r.jobID == nil {
			unknown = append(unknown, r)
		} else {
			known = append(known, r)
		}
	}
	return known, unknown
}

// args returns the arguments of sweepOrphansSQL and sweepUnknownSQL. The
// statements are planned for them and for the current state of the tables.
func (runs pendingRuns) args() []any {
	var (
		keys      [][16]byte
		kinds     []string
		replayIDs []int64
		jobIDs    []*int64
		attempts  []int32
	)
	for _, r := range runs {
		keys, kinds, replayIDs = append(keys, r.key), append(kinds, r.kind), append(replayIDs, r.replayID)
		jobIDs, attempts = append(jobIDs, r.jobID), append(attempts, r.attempts)
	}
	return []any{pgx.QueryExecModeCacheDescribe, keys, kinds, replayIDs, jobIDs, attempts}
}
