package window

import (
	"context"

	"lumin-ingest/store"
)

// Tail follows events as they are recorded; see [store.Tail]. It is for one
// goroutine.
type Tail interface {
	// Next returns the events recorded since the last call, in the order of their
	// ids. After an error it may be called again and continues.
	Next(ctx context.Context) ([]store.EventSummary, error)
}

// Tail returns the newest events that match, and a Tail for the events after
// them.
func (w *Window) Tail(ctx context.Context, f store.EventFilter) (Tail, []store.EventSummary, error) {
	return w.store.NewTail(ctx, f)
}

// BeginTail is like Tail. It returns the state of the tail, for [Window.ResumeTail].
func (w *Window) BeginTail(ctx context.Context, f store.EventFilter) (store.TailState, []store.EventSummary, error) {
	t, events, err := w.store.NewTail(ctx, f)
	if err != nil {
		return store.TailState{}, nil, err
	}
	return t.State(), events, nil
}

// ResumeTail returns the next events of a tail, and its new state. The error is
// [store.ErrTailState] for a state that no tail can have.
func (w *Window) ResumeTail(ctx context.Context, f store.EventFilter, state store.TailState) (store.TailState, []store.EventSummary, error) {
	t, err := w.store.ResumeTail(f, state)
	if err != nil {
		return state, nil, err
	}
	events, err := t.Next(ctx)
	return t.State(), events, err
}
