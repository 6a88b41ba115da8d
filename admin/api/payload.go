package api

import (
	"context"
	"net/http"

	"lumin-ingest/admin/access"
)

// MaskedPayload is a body without personal data.
type MaskedPayload struct {
	Masked *string `json:"masked"`
}

// Payload is a body.
type Payload struct {
	Payload []byte `json:"payload"`
}

// EventID names an event.
type EventID struct {
	ID int64 `path:"id" doc:"The event's id."`
}

func (a *api) payloads() {
	add(a, operation{
		id: "show-masked-body", method: http.MethodGet, path: "/events/{id}/payload", tag: eventsTag, role: access.Read,
		summary:     "Show the body of an event, masked",
		description: "Shows the body with addresses, names, tokens and queries of URLs masked. Titles and reasons are free text: they are shown.",
		errors:      []int{http.StatusNotFound, http.StatusGone},
	}, func(ctx context.Context, in *EventID) (MaskedPayload, error) {
		masked, err := a.window.MaskedPayload(ctx, in.ID)
		return MaskedPayload{masked}, err
	})
	add(a, operation{
		id: "reveal-body", method: http.MethodPost, path: "/events/{id}/payload/reveal", tag: eventsTag, role: access.Operate,
		summary:     "Show the exact body of an event",
		description: "Shows the bytes that were signed, in base64. They hold personal data: the audit log has a row about it.",
		errors:      []int{http.StatusNotFound, http.StatusGone},
	}, func(ctx context.Context, in *EventID) (Payload, error) {
		payload, err := a.as(ctx).Payload(ctx, in.ID)
		return Payload{payload}, err
	})
}
