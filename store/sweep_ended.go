package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// The trigger on River's table skips a run that another transaction has locked.
// This statement finds such a run by its job. The window is wide, because the
// clock of another machine sets finalized_at. A page ends between two times, because
// many jobs may have ended at the same time. It reads the index of River that begins
// with the state, so there is a page for each state. OFFSET 0: see recordSQL.
const sweepEndedSQL = `
WITH page AS MATERIALIZED (
    SELECT id, kind, finalized_at, lumin.run_key(args) AS event_key, lumin.run_replay(args) AS replay_id
    FROM lumin.river_job
    WHERE state = $1::text::lumin.river_job_state AND finalized_at > greatest($2::timestamptz, now() - interval '1 hour')
    ORDER BY finalized_at FETCH FIRST $3 ROWS WITH TIES
)
SELECT (SELECT count(*) FROM page), (SELECT max(finalized_at) FROM page), (
    SELECT count(*) FROM (
        SELECT lumin.settle_failure(p.event_key, p.kind, p.replay_id, p.id,
                   CASE $1::text WHEN 'cancelled' THEN 'cancelled' ELSE 'failed' END, j.attempt, j.errors) AS settled
        FROM page p
        CROSS JOIN LATERAL (
            SELECT state, replay_id FROM lumin.runs WHERE event_key = p.event_key AND job_kind = p.kind OFFSET 0) r
        CROSS JOIN LATERAL (SELECT attempt, errors FROM lumin.river_job WHERE id = p.id OFFSET 0) j
        WHERE r.state = 'pending' AND r.replay_id = p.replay_id
    ) s WHERE settled)`

// sweepSlice is how long a sweep goes through the jobs of one state before it leaves the
// rest to the next sweep.
const sweepSlice = 2 * time.Second

// EndedPosition is how far sweeps have come through the jobs that ended within an hour.
type EndedPosition struct{ discarded, cancelled time.Time }

// SweepEnded settles the final failures that the trigger missed, by their jobs. It
// takes a few seconds at most. It returns the start of the next sweep, which begins anew
// with the jobs of a state after it has checked all of them.
func (s *Store) SweepEnded(ctx context.Context, from EndedPosition) (settled int, next EndedPosition, err error) {
	return s.sweepEnded(ctx, from, sweepPage, sweepSlice)
}

func (s *Store) sweepEnded(ctx context.Context, from EndedPosition, page int, slice time.Duration) (settled int, next EndedPosition, err error) {
	discarded, after, err := s.sweepState(ctx, "discarded", from.discarded, page, slice)
	next.discarded = after
	cancelled, after, err2 := s.sweepState(ctx, "cancelled", from.cancelled, page, slice)
	next.cancelled = after
	return discarded + cancelled, next, errors.Join(err, err2)
}

func (s *Store) sweepState(ctx context.Context, state string, after time.Time, page int, slice time.Duration) (settled int, next time.Time, err error) {
	for start := time.Now(); ; {
		var (
			read, found int
			last        *time.Time
		)
		// The statement is planned for the current state of the tables.
		err := s.pool.QueryRow(ctx, sweepEndedSQL, pgx.QueryExecModeCacheDescribe, state, after, page).Scan(&read, &last, &found)
		if err != nil {
			return settled, after, fmt.Errorf("sweep %s jobs: %w", state, err)
		}
		settled += found
		if read < page {
			return settled, time.Time{}, nil
		}
		if after = *last; time.Since(start) >= slice {
			return settled, after, nil
		}
	}
}
