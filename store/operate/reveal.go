package operate

import "context"

// Revealed is what a person asked to see without masks. Zero fields are left out
// of the row.
type Revealed struct {
	What             string `json:"what"` // such as "event", "body", "job" or "signature_request"
	EventID          int64  `json:"event"`
	JobID            int64  `json:"job"`
	SignatureRequest string `json:"signature_request_id"`
}

// Reveal records that a person sees personal data without masks. Call it first, and
// show the data only if it returns nil.
func (o *Operator) Reveal(ctx context.Context, by Actor, what Revealed, reason string) error {
	return o.Do(ctx, by, Change{ActionReveal, what, reason}, func(context.Context) (any, error) { return nil, nil })
}
