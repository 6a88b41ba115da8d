package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"

	"lumin-ingest/admin/access"
	"lumin-ingest/store"
)

// TailRequest begins or continues a tail.
type TailRequest struct {
	Source             string `json:"source,omitempty" maxLength:"100"`
	EventType          string `json:"event_type,omitempty" maxLength:"200"`
	SignatureRequestID string `json:"signature_request_id,omitempty" maxLength:"1000"`
	Late               bool   `json:"late,omitempty"`
	Lines              int    `json:"lines,omitempty" minimum:"0" maximum:"1000"`
	Cursor             string `json:"cursor,omitempty"`
}

// TailPage has the events that were recorded since the request before.
type TailPage struct {
	Events []store.EventSummary `json:"events"`
	Cursor string               `json:"cursor"`
}

func (a *api) tail() {
	add(a, operation{
		id: "tail-events", method: http.MethodPost, path: "/events/tail", tag: eventsTag, role: access.Read,
		summary:     "Follow events",
		description: "Without a cursor, returns the newest events, as many as lines says. With the cursor of the answer before, and the same filter, returns the events that were recorded since then, in the order of their ids: each event once, even if transactions commit in another order.",
	}, func(ctx context.Context, in *struct{ Body TailRequest }) (TailPage, error) {
		f := store.EventFilter{Source: in.Body.Source, EventType: in.Body.EventType, SignatureRequestID: in.Body.SignatureRequestID, Late: in.Body.Late, Limit: in.Body.Lines}
		if in.Body.Cursor == "" {
			state, events, err := a.window.BeginTail(ctx, f)
			return TailPage{events, tailCursor(state)}, err
		}
		state, err := parseTailCursor(in.Body.Cursor)
		if err != nil {
			return TailPage{}, err
		}
		state, events, err := a.window.ResumeTail(ctx, f, state)
		return TailPage{events, tailCursor(state)}, err
	})
}

func tailCursor(s store.TailState) string {
	text, err := json.Marshal(s)
	if err != nil {
		return "" // never: it has numbers and texts only
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

func parseTailCursor(text string) (s store.TailState, err error) {
	plain, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || json.Unmarshal(plain, &s) != nil {
		return s, invalid{store.ErrTailState}
	}
	return s, nil
}
