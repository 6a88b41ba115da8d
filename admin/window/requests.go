package window

import (
	"context"
	"errors"
	"fmt"
	"time"

	"lumin-ingest/internal/mask"
	"lumin-ingest/store"
	"lumin-ingest/store/signaturerequest"
)

// Request is the story of a signature request.
type Request struct {
	ID     string               `json:"signature_request_id"`
	State  *RequestState        `json:"latest"` // nil if the job type signature_request_state has not stored it
	Events []store.EventDetails `json:"events"` // of all sources, the newest first
	More   bool                 `json:"more"`   // older events are left out
}

// RequestState is the latest state of a signature request. Its title and reason are
// masked.
type RequestState struct {
	Status        *string    `json:"request_status"`
	Title         *string    `json:"request_title"`
	Reason        *string    `json:"request_reason"`
	CreatedAt     *time.Time `json:"created_at"`
	UpdatedAt     *time.Time `json:"updated_at"`
	ExpiresAt     *time.Time `json:"expires_at"`
	LastEventType *string    `json:"last_event_type"`
	LastEventTime *time.Time `json:"last_event_time"`
	GoneAt        *time.Time `json:"gone_at"` // when Lumin no longer had it; nil if no check has found that
}

// requestEvents is how many events of a signature request a story has.
const requestEvents = 200

// Request returns the story of a signature request: its events with their runs,
// and its latest state. The error is [store.ErrNotFound] if nothing of it is stored.
func (w *Window) Request(ctx context.Context, id string) (Request, error) {
	r := Request{ID: id}
	page, err := w.store.Search(ctx, store.Search{SignatureRequestID: id}, store.SearchPosition{}, requestEvents)
	if err != nil {
		return r, err
	}
	r.More = page.Next != nil
	if r.Events, err = w.details(ctx, page.Events); err != nil {
		return r, err
	}
	row, found, err := signaturerequest.Find(ctx, w.pool, id)
	if err != nil {
		return r, err
	}
	if !found && len(r.Events) == 0 {
		return r, fmt.Errorf("signature request %s: %w", id, store.ErrNotFound)
	}
	if found {
		r.State = &RequestState{
			row.Status, maskedText(row.Title), maskedText(row.Reason), row.CreatedAt, row.UpdatedAt, row.ExpiresAt,
			row.LastEventType, row.LastEventTime, row.GoneAt,
		}
	}
	return r, nil
}

// details returns the details of events, without those that were removed since they
// were found.
func (w *Window) details(ctx context.Context, found []store.EventSummary) (events []store.EventDetails, err error) {
	for _, e := range found {
		details, err := w.store.ShowEvent(ctx, e.ID)
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return events, err
		default:
			events = append(events, details)
		}
	}
	return events, nil
}

func maskedText(text *string) *string {
	if text == nil {
		return nil
	}
	masked := mask.String(*text)
	return &masked
}

// Search returns a page of the events that match; see [store.Store.Search].
func (w *Window) Search(ctx context.Context, s store.Search, from store.SearchPosition, limit int) (store.SearchPage, error) {
	return w.store.Search(ctx, s, from, limit)
}
