package replay

import (
	"context"
	"time"

	"lumin-ingest/internal/query"
)

// rateSQL reads the last thousand completed jobs, in the order of River's index
// on state and time.
const rateSQL = `
SELECT kind, (extract(epoch FROM sum(finalized_at - attempted_at)) / count(*))::float8
FROM (SELECT kind, finalized_at, attempted_at FROM lumin.river_job
      WHERE state = 'completed' AND finalized_at IS NOT NULL AND attempted_at IS NOT NULL ORDER BY finalized_at DESC LIMIT 1000) j
GROUP BY kind`

// assumedWorkers is the number of jobs of a kind that are assumed to run at
// once: the default of a worker.
const assumedWorkers = 16

// addDurations estimates how long the runs of a plan will take.
func (s *Store) addDurations(ctx context.Context, plan Plan) error {
	var (
		kind    string
		seconds float64
		average = map[string]float64{}
	)
	err := query.Each(ctx, s.pool, "read the rate of jobs", []any{&kind, &seconds}, func() error {
		average[kind] = max(seconds, 0)
		return nil
	}, rateSQL)
	if err != nil {
		return err
	}
	for i, p := range plan.JobTypes {
		plan.JobTypes[i].Duration = time.Duration(float64(p.Runs) * average[p.Kind] / assumedWorkers * float64(time.Second))
	}
	return nil
}
