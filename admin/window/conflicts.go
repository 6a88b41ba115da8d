package window

import (
	"context"

	"lumin-ingest/internal/mask"
	"lumin-ingest/store/conflict"
	"lumin-ingest/store/operate"
)

// Conflicts lists conflicts, the last delivered first.
func (w *Window) Conflicts(ctx context.Context, f conflict.Filter) ([]conflict.Row, error) {
	return conflict.List(ctx, w.pool, f)
}

// Signers are the signers that the two bodies of a conflict name.
type Signers struct {
	First    string `json:"first_signer"` // masked, unless they are revealed; empty if the body names none
	Other    string `json:"other_signer"`
	WorkedID *int64 `json:"worked_event_id"` // the event that has the runs; nil if there are none
}

// Signers reads the signers from the bodies of a conflict. Their addresses are
// masked. If reveal is true they are not, and the audit log has a row about it.
func (w *Window) Signers(ctx context.Context, c conflict.Row, reveal bool) (s Signers, err error) {
	if reveal {
		err := w.operator.Reveal(ctx, w.by, operate.Revealed{What: "signers", EventID: c.EventID}, "")
		if err != nil {
			return s, err
		}
	}
	actors, err := conflict.ActorsOf(ctx, w.pool, c)
	if err != nil {
		return s, err
	}
	s = Signers{First: actors.First, Other: actors.Other}
	if !reveal {
		s.First, s.Other = maskedSigner(s.First), maskedSigner(s.Other)
	}
	if actors.WorkedID != 0 {
		s.WorkedID = &actors.WorkedID
	}
	return s, nil
}

func maskedSigner(address string) string {
	if address == "" {
		return ""
	}
	return mask.Email(address)
}

// Promote makes the other body of a conflict an event of its own, and returns its
// id. The error may be a [*conflict.RefusedError].
func (w *Window) Promote(ctx context.Context, c conflict.Row, reason string) (eventID int64, err error) {
	return w.operator.DecideConflict(ctx, w.by, c, operate.Promote, reason)
}

// DismissConflict records that a conflict needs no action. The error may be a
// [*conflict.RefusedError].
func (w *Window) DismissConflict(ctx context.Context, c conflict.Row, reason string) error {
	_, err := w.operator.DecideConflict(ctx, w.by, c, operate.DismissConflict, reason)
	return err
}
