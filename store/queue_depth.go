package store

import (
	"context"

	"lumin-ingest/internal/query"
)

// QueueDepth counts the jobs of one queue that are due and wait for a worker.
type QueueDepth struct {
	Queue  string
	Queued int64   // at most MaxQueueDepth
	Age    float64 // how long the first of them has been due, in seconds; 0 if there is none
}

// MaxQueueDepth is the number of jobs of a queue up to which [Store.QueueDepths]
// counts.
const MaxQueueDepth = 100_000

// queueDepthsSQL reads the index from which River fetches jobs.
const queueDepthsSQL = `
SELECT q.queue,
       (SELECT count(*) FROM (SELECT FROM lumin.river_job j WHERE j.state = 'available' AND j.queue = q.queue LIMIT $1) c),
       greatest(coalesce(extract(epoch FROM now() - (
           SELECT min(first.scheduled_at) FROM generate_series(1, 4) p
           CROSS JOIN LATERAL (
               SELECT j.scheduled_at FROM lumin.river_job j
               WHERE j.state = 'available' AND j.queue = q.queue AND j.priority = p ORDER BY j.scheduled_at LIMIT 1) first)), 0), 0)::float8
FROM (SELECT t.queue FROM lumin.job_types t UNION SELECT o.queue FROM lumin.other_kinds o) q
ORDER BY q.queue`

// QueueDepths returns the depth of each queue of a registered job type or
// follow-up job.
func (s *Store) QueueDepths(ctx context.Context) ([]QueueDepth, error) {
	return query.Structs[QueueDepth](ctx, s.pool, "measure the queues", queueDepthsSQL, MaxQueueDepth)
}
