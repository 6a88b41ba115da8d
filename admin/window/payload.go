package window

import (
	"context"

	"lumin-ingest/internal/mask"
	"lumin-ingest/store/operate"
)

// Payload returns the exact bytes that were signed. The audit log has a row about
// it.
func (w *Window) Payload(ctx context.Context, id int64) ([]byte, error) {
	if err := w.operator.Reveal(ctx, w.by, operate.Revealed{What: "body", EventID: id}, ""); err != nil {
		return nil, err
	}
	return w.store.Payload(ctx, id)
}

// MaskedPayload returns a body with its personal data masked; nil if it is not
// JSON.
func (w *Window) MaskedPayload(ctx context.Context, id int64) (*string, error) {
	payload, err := w.store.Payload(ctx, id)
	if err != nil {
		return nil, err
	}
	masked, ok := mask.JSON(payload)
	if !ok {
		return nil, nil //nolint:nilnil // documented
	}
	text := string(masked)
	return &text, nil
}
