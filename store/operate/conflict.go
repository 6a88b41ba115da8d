package operate

import (
	"context"
	"fmt"
	"strings"

	"lumin-ingest/store/conflict"
)

// Decision is a decision about a conflict.
type Decision string

// The decisions.
const (
	Promote         Decision = "promote" // the other body becomes an event of its own
	DismissConflict Decision = "dismiss" // the conflict needs no action
)

// DecideConflict stores a decision about a conflict. It returns the id of the new
// event, or 0 if the conflict is dismissed. The error is [ErrNoReason] without a
// reason, and may be a [*conflict.RefusedError].
func (o *Operator) DecideConflict(ctx context.Context, by Actor, c conflict.Row, d Decision, reason string) (eventID int64, err error) {
	if strings.TrimSpace(reason) == "" {
		return 0, ErrNoReason
	}
	if d != Promote && d != DismissConflict {
		return 0, fmt.Errorf("%q is not a decision about a conflict: give %s or %s", d, Promote, DismissConflict)
	}
	subject := struct {
		Event int64  `json:"event"`
		Body  string `json:"body"`
	}{c.EventID, c.Body}
	action := ActionPromoteConflict
	if d == DismissConflict {
		action = ActionDismissConflict
	}
	err = o.once(ctx, by, Change{action, subject, reason}, func(ctx context.Context) (any, error) {
		if d == DismissConflict {
			return nil, conflict.Dismiss(ctx, o.pool, c, reason, by.Name)
		}
		eventID, err = conflict.Promote(ctx, o.pool, c, reason, by.Name)
		return map[string]int64{"event": eventID}, err
	})
	return eventID, err
}
