package api

import (
	"context"
	"net/http"
	"time"

	"lumin-ingest/admin/access"
	"lumin-ingest/admin/window"
	"lumin-ingest/store"
	"lumin-ingest/store/conflict"
)

const conflictsTag = "Conflicts"

// ConflictList is a list of conflicts.
type ConflictList struct {
	Conflicts []conflict.Row `json:"conflicts"`
	Next      *string        `json:"next"`
}

// ConflictQuery chooses conflicts.
type ConflictQuery struct {
	EventID      int64     `query:"event_id" minimum:"0" doc:"Only of this event."`
	Source       string    `query:"source" maxLength:"100" doc:"Only of this source: account or app:NAME."`
	Request      string    `query:"signature_request_id" maxLength:"1000" doc:"Only of this signature request."`
	AnotherActor bool      `query:"another_actor" doc:"Only conflicts whose two bodies name different signers."`
	Undecided    bool      `query:"undecided" doc:"Only conflicts that are neither promoted nor dismissed."`
	Since        time.Time `query:"since" doc:"Only conflicts delivered at this time or later."`
}

// ConflictID names a conflict.
type ConflictID struct {
	EventID int64  `json:"event_id" query:"event_id" required:"true" doc:"The event that the conflict belongs to."`
	Hash    string `json:"body" query:"body" maxLength:"64" doc:"SHA-256 of the other body, in hex. Empty if it is not kept."`
}

// RevealRequest asks for the signers of a conflict in full.
type RevealRequest struct {
	ConflictID
}

// DecisionRequest decides about a conflict.
type DecisionRequest struct {
	ConflictID
	Decision string `json:"decision" enum:"promote,dismiss"`
	Reason   string `json:"reason" maxLength:"1000"`
}

// Decided is the result of a decision.
type Decided struct {
	EventID *int64 `json:"promoted_id"`
}

func (a *api) conflicts() {
	add(a, operation{
		id: "list-conflicts", method: http.MethodGet, path: "/conflicts", tag: conflictsTag, role: access.Read,
		summary: "List conflicts", description: "Lists redeliveries whose content differs from the first delivery, the last delivered first.",
	}, a.listConflicts)
	add(a, operation{
		id: "show-signers", method: http.MethodGet, path: "/conflicts/signers", tag: conflictsTag, role: access.Read,
		summary: "Show the signers of a conflict", description: "Shows which signers the two bodies name, with masked addresses.", errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *ConflictID) (s window.Signers, err error) {
		row, err := a.conflict(ctx, *in)
		if err != nil {
			return s, err
		}
		return a.window.Signers(ctx, row, false)
	})
	add(a, operation{
		id: "reveal-signers", method: http.MethodPost, path: "/conflicts/signers/reveal", tag: conflictsTag, role: access.Operate,
		summary: "Show the signers of a conflict in full", description: "Shows the addresses without masks. The audit log has a row about it.", errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *struct{ Body RevealRequest }) (s window.Signers, err error) {
		row, err := a.conflict(ctx, in.Body.ConflictID)
		if err != nil {
			return s, err
		}
		return a.as(ctx).Signers(ctx, row, true)
	})
	order(a, operation{
		id: "decide-conflict", method: http.MethodPost, path: "/conflicts/decide", tag: conflictsTag, role: access.Operate,
		summary:     "Decide about a conflict",
		description: "promote makes the other body an event of its own, with runs; that cannot be undone. dismiss records that nothing needs to be done. Needs a reason.",
		errors:      []int{http.StatusNotFound, http.StatusConflict},
	}, func(ctx context.Context, w *window.Window, _ string, in DecisionRequest) (d Decided, err error) {
		row, err := a.conflict(ctx, in.ConflictID)
		if err != nil {
			return d, err
		}
		if in.Decision == "dismiss" {
			return d, w.DismissConflict(ctx, row, in.Reason)
		}
		id, err := w.Promote(ctx, row, in.Reason)
		return Decided{&id}, err
	})
}

func (a *api) listConflicts(ctx context.Context, in *struct {
	ConflictQuery
	Page
}) (l ConflictList, err error) {
	list := listOf("list-conflicts", in.ConflictQuery)
	from, err := parseCursor(list, in.Cursor)
	if err != nil {
		return l, err
	}
	var more bool
	l.Conflicts, more, err = cut(in.Limit, func(limit int) ([]conflict.Row, error) {
		return a.window.Conflicts(ctx, conflict.Filter{
			EventID: in.EventID, Source: in.Source, SignatureRequestID: in.Request, AnotherActor: in.AnotherActor,
			Undecided: in.Undecided, Since: timeOf(in.Since), After: conflict.Position{LastAt: from.At, EventID: from.ID, Body: from.Text}, Limit: limit,
		})
	})
	if more {
		last := l.Conflicts[len(l.Conflicts)-1]
		next := cursor{List: list, At: last.LastAt.UTC(), ID: last.EventID, Text: last.Body}.String()
		l.Next = &next
	}
	return l, err
}

// conflict finds a conflict.
func (a *api) conflict(ctx context.Context, id ConflictID) (conflict.Row, error) {
	rows, err := a.window.Conflicts(ctx, conflict.Filter{EventID: id.EventID, Limit: 100}) // an event keeps fewer bodies
	for _, row := range rows {
		if row.Body == id.Hash {
			return row, err
		}
	}
	if err == nil {
		err = store.ErrNotFound
	}
	return conflict.Row{}, err
}
