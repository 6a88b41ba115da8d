package window

import (
	"context"
	"iter"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// Events returns all events that match; see [store.Store.Events].
func (w *Window) Events(ctx context.Context, f store.EventFilter) iter.Seq2[store.EventSummary, error] {
	return w.store.Events(ctx, f)
}

// Event returns one event. The error is [store.ErrNotFound] if no event has this
// id.
func (w *Window) Event(ctx context.Context, id int64) (store.EventDetails, error) {
	return w.store.ShowEvent(ctx, id)
}

// EventsByKey returns the events of a key, one for each source that reported it.
// No event is not an error.
func (w *Window) EventsByKey(ctx context.Context, key lumin.EventKey) ([]store.EventSummary, error) {
	return w.store.EventsByKey(ctx, key)
}

// EventsByJob returns the event of the run that a job worked on; see
// [store.Store.EventsByJob].
func (w *Window) EventsByJob(ctx context.Context, job int64) ([]store.EventSummary, error) {
	return w.store.EventsByJob(ctx, job)
}

// EventOfJob returns the id of the event whose run a job of the queue works on; see
// [store.Store.EventOfJob].
func (w *Window) EventOfJob(ctx context.Context, job int64) (int64, error) {
	return w.store.EventOfJob(ctx, job)
}
