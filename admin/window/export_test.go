package window

import (
	"context"

	"lumin-ingest/store"
)

// Details is details.
func (w *Window) Details(ctx context.Context, found []store.EventSummary) ([]store.EventDetails, error) {
	return w.details(ctx, found)
}
