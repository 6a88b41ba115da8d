package operate

import (
	"context"
	"strings"

	"lumin-ingest/store/lanes"
)

// SkipLane dismisses the failed run that holds a lane; see [lanes.Skip]. The error
// is [ErrNoReason] without a reason.
func (o *Operator) SkipLane(ctx context.Context, by Actor, held lanes.Lane, reason string) (skipped bool, err error) {
	if strings.TrimSpace(reason) == "" {
		return false, ErrNoReason
	}
	subject := struct {
		Kind    string `json:"job_kind"`
		Request string `json:"signature_request_id"`
		Event   *int64 `json:"event"`
	}{held.Kind, held.SignatureRequestID, held.HeldBy}
	err = o.once(ctx, by, Change{ActionSkipLane, subject, reason}, func(ctx context.Context) (any, error) {
		skipped, err = lanes.Skip(ctx, o.pool, held, reason, by.Name)
		return map[string]bool{"skipped": skipped}, err
	})
	return skipped, err
}
