package alerts

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
	"lumin-ingest/store/catalog"
)

// waitingJob is the job of a queue that has been due for longest.
type waitingJob struct {
	Queue   string
	Kind    string
	Seconds float64 // since it was due
	Paused  bool    // the queue
}

// Each pair of queue and priority is one look-up in River's index for fetching. It
// has the queues in which jobs wait, by jumping from one to the next.
const backlogSQL = `
WITH RECURSIVE queues AS (
    (SELECT j.queue FROM lumin.river_job j WHERE j.state = 'available' ORDER BY j.queue LIMIT 1)
    UNION ALL
    SELECT n.queue FROM queues q CROSS JOIN LATERAL (
        SELECT j.queue FROM lumin.river_job j WHERE j.state = 'available' AND j.queue > q.queue ORDER BY j.queue LIMIT 1) n
)
SELECT DISTINCT ON (q.queue) q.queue, o.kind, extract(epoch FROM now() - o.scheduled_at)::float8, r.paused_at IS NOT NULL
FROM queues q
CROSS JOIN generate_series(1, 4) AS p (priority)
CROSS JOIN LATERAL (
    SELECT j.kind, j.scheduled_at FROM lumin.river_job j
    WHERE j.state = 'available' AND j.queue = q.queue AND j.priority = p.priority
    ORDER BY j.scheduled_at LIMIT 1) o
LEFT JOIN lumin.river_queue r ON r.name = q.queue
ORDER BY q.queue, o.scheduled_at`

// backlog finds queues in which a due job has been waiting for too long.
func (x *Examiner) backlog(ctx context.Context) (f Finding, err error) {
	waiting, err := query.Structs[waitingJob](ctx, x.pool, "find the oldest waiting jobs", backlogSQL, pgx.QueryExecModeCacheDescribe)
	if err != nil {
		return f, err
	}
	works, err := catalog.Works(ctx, x.pool)
	if err != nil {
		return f, err
	}
	longest := time.Duration(0)
	for _, w := range waiting {
		age := time.Duration(w.Seconds * float64(time.Second))
		longest = max(longest, age)
		if age < x.limits.Backlog {
			continue
		}
		remedy := "Check that a program works the job type " + w.Kind + ", and that its workers are not held up."
		switch {
		case !works:
			remedy = "No program that runs jobs is running: start one."
		case w.Paused:
			remedy = "The queue is paused: resume it."
		}
		f.Alerts = append(f.Alerts, Alert{
			Key:  Backlog + "/" + w.Queue,
			Text: fmt.Sprintf("a job in queue %s has been waiting for a worker for %s. %s", w.Queue, about(age), remedy),
			Page: "/queues",
		})
	}
	f.Reason = fmt.Sprintf("the longest wait of a due job is %s, the limit %s", about(longest), about(x.limits.Backlog))
	return f, nil
}

// about rounds a duration to what people say: 90s, 12m, 3h, 4d.
func about(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
