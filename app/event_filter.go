package app

import (
	"context"

	"lumin-ingest/store"
)

// eventFilter holds the flags that choose events.
type eventFilter struct {
	Source           string `help:"Only of this source: account, app:NAME, or recovered."`
	EventType        string `placeholder:"TYPE" help:"Only of this event type, such as signature_request_approved or approved for short."`
	SignatureRequest string `placeholder:"ID" help:"Only of this signature request."`
	Late             bool   `help:"Only late events: they were too old when they arrived, so no job type got them."`
}

// checkSourceFilter refuses a --source that no source can have. It may be
// empty.
func checkSourceFilter(source string) error {
	if source == "" {
		return nil
	}
	return checkStoredSource(source)
}

// resolve returns the filter that the flags make. It refuses names that do not
// exist, and completes a short event type.
func (f eventFilter) resolve(ctx context.Context, w operatorWindow) (store.EventFilter, error) {
	filter := store.EventFilter{Source: f.Source, EventType: f.EventType, SignatureRequestID: f.SignatureRequest, Late: f.Late}
	if f.Source != "" {
		if err := checkSources(ctx, w, []string{f.Source}); err != nil {
			return filter, err
		}
	}
	if f.EventType != "" {
		full, err := eventTypes(ctx, w, []string{f.EventType})
		if err != nil {
			return filter, err
		}
		filter.EventType = full[0]
	}
	return filter, nil
}
