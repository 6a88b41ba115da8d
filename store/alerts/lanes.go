package alerts

import (
	"context"
	"fmt"
	"time"

	"lumin-ingest/store/lanes"
)

// lanes finds ordered job types of which a failed run holds a lane.
func (x *Examiner) lanes(ctx context.Context) (f Finding, err error) {
	held, err := lanes.CountHeld(ctx, x.pool)
	if err != nil {
		return f, err
	}
	for _, h := range held {
		age := time.Duration(h.Age * float64(time.Second))
		if h.Lanes == 0 || age < heldFor {
			continue
		}
		f.Alerts = append(f.Alerts, Alert{
			Key: Lane + "/" + h.Kind,
			Text: fmt.Sprintf("later events of signature requests wait for failed runs of %s (lanes: %s, the oldest held for %s). Fix the cause and replay, or skip the run.",
				h.Kind, h.Number(), about(age)),
			Page: "/lanes",
		})
	}
	f.Reason = fmt.Sprintf("no lane has been held for %s", about(heldFor))
	return f, nil
}
