package alerts

import (
	"context"
	"fmt"

	"lumin-ingest/store"
)

// late finds late events that wait for a decision.
func (x *Examiner) late(ctx context.Context) (f Finding, err error) {
	waiting, err := store.CountWaitingLate(ctx, x.pool)
	if err != nil {
		return f, err
	}
	f.Reason = "no late event waits for a decision"
	if waiting.Events > 0 {
		more := ""
		if waiting.More {
			more = " or more"
		}
		f.Alerts = []Alert{{
			Key:  Late,
			Text: fmt.Sprintf("events that were too old when they arrived were stored, and no job type has run: %d%s. Replay or dismiss them.", waiting.Events, more),
			Page: "/events?state=late",
		}}
	}
	return f, nil
}
