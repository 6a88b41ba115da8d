package alerts

import (
	"context"
	"fmt"
	"strings"

	"lumin-ingest/store/catalog"
)

// workers finds programs in which jobs that ignore their timeout hold all workers
// of a queue.
func (x *Examiner) workers(ctx context.Context) (f Finding, err error) {
	programs, err := catalog.Programs(ctx, x.pool, catalog.SeenWithin)
	if err != nil {
		return f, err
	}
	for _, p := range programs {
		if len(p.Stuck) == 0 {
			continue
		}
		f.Alerts = append(f.Alerts, Alert{
			Key:  fmt.Sprintf("%s/%s/%d", Workers, p.Host, p.PID),
			Text: fmt.Sprintf("%s (host %s, process %d). Restart that program, which loses nothing.", strings.Join(p.Stuck, "; "), p.Host, p.PID),
			Page: "/programs",
		})
	}
	f.Reason = "every queue of a running program has a worker that can work"
	return f, nil
}
