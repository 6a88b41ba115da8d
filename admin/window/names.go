package window

import (
	"context"
	"slices"

	"lumin-ingest/store/catalog"
)

// Names are the names that filters may use, beside those that Lumin documents.
type Names struct {
	EventTypes []string `json:"event_types"` // of stored events
	Sources    []string `json:"sources"`     // of stored events, or named by job types
	JobTypes   []string `json:"job_types"`   // that some program has registered
}

// Names lists the names in use. Its duration grows with their number only.
func (w *Window) Names(ctx context.Context) (n Names, err error) {
	if n.EventTypes, err = w.store.StoredEventTypes(ctx); err != nil {
		return n, err
	}
	if n.Sources, err = w.store.StoredSources(ctx); err != nil {
		return n, err
	}
	subscribed, err := w.store.SubscribedSources(ctx)
	if err != nil {
		return n, err
	}
	n.Sources = append(n.Sources, subscribed...)
	slices.Sort(n.Sources)
	n.Sources = slices.Compact(n.Sources)
	n.JobTypes, err = catalog.Kinds(ctx, w.pool)
	return n, err
}

// StoredKind reports whether a job type has runs that have not succeeded. Such
// runs remain when a job type is removed.
func (w *Window) StoredKind(ctx context.Context, kind string) (bool, error) {
	return w.store.StoredKind(ctx, kind)
}

// Fingerprints lists the errors of the runs in a state: failed, pending,
// cancelled, succeeded or dismissed. It returns false if there are too many runs
// to read them all.
func (w *Window) Fingerprints(ctx context.Context, state string) (names []string, all bool, err error) {
	if state == "dismissed" {
		return w.store.DismissedFingerprints(ctx)
	}
	return w.store.StoredFingerprints(ctx, state)
}
