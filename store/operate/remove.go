package operate

import (
	"context"
	"strings"
	"time"

	"lumin-ingest/store/erasure"
	"lumin-ingest/store/retention"
)

// Erase orders an erasure and returns its id; see [erasure.Plan.Order]. A running
// worker carries it out, or [erasure.CarryOut]. The row names no address and no
// signature request: it has their number, and the id of the order, whose row in
// lumin.erasures has the rest. The error is [ErrNoReason] without a reason.
func (o *Operator) Erase(ctx context.Context, by Actor, plan erasure.Plan, reason string) (id int64, err error) {
	if strings.TrimSpace(reason) == "" {
		return 0, ErrNoReason
	}
	subject := struct {
		Subject           string `json:"subject"`
		SignatureRequests int    `json:"signature_requests"`
		Events            int64  `json:"events"`
	}{plan.Subject, len(plan.SignatureRequestIDs), plan.Events}
	err = o.once(ctx, by, Change{ActionErase, subject, reason}, func(ctx context.Context) (any, error) {
		id, err = plan.Order(ctx, o.pool, reason, by.Name)
		return map[string]int64{"erasure": id}, err
	})
	return id, err
}

// Retain removes everything that is too old, like [retention.Run].
func (o *Operator) Retain(ctx context.Context, by Actor, policy retention.Policy, now time.Time, reason string) (removed retention.Removed, err error) {
	subject := struct {
		Payloads string `json:"payloads_older_than"`
		Events   string `json:"events_older_than"`
	}{age(policy.Payloads), age(policy.Events)}
	err = o.Do(ctx, by, Change{ActionRetention, subject, reason}, func(ctx context.Context) (any, error) {
		removed, err = retention.Run(ctx, o.pool, policy, now)
		return removed, err
	})
	return removed, err
}

// age formats an age; 0 keeps everything.
func age(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}
