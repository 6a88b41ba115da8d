package app

import (
	"context"
	"errors"
	"fmt"

	"lumin-ingest/internal/advice"
	"lumin-ingest/store/conflict"
)

// decisionSettings are the flags that promote and dismiss share.
type decisionSettings struct {
	conflictSettings
	Reason string `required:"" help:"Reason for the decision. It is stored with the conflict, so do not name a person in it."`
	actorSettings
}

// decide makes a decision about the conflict that the flags name. plan returns
// the change for that conflict.
func (s decisionSettings) decide(ctx context.Context, plan func(operatorWindow, conflict.Row) change) error {
	if err := checkReason(s.Reason, "give the reason for the decision; it is stored with the conflict"); err != nil {
		return err
	}
	w, closeWindow, err := s.openWindowAs(ctx, s.actorSettings)
	if err != nil {
		return err
	}
	defer closeWindow()
	conflicts, err := s.find(ctx, w)
	if err != nil {
		return err
	}
	if len(conflicts) > 1 {
		return advice.Usage(fmt.Sprintf("event %d has %d conflicts", s.Event, len(conflicts)),
			"name one by --body; \"conflicts show %d\" shows them", s.Event)
	}
	err = plan(w, conflicts[0]).carryOut()
	var refused *conflict.RefusedError
	if errors.As(err, &refused) {
		return advice.Usage(refused.Reason, "%s", refused.Hint)
	}
	return err
}

func (s decisionSettings) unsure(err error) error {
	return unsure(err, "\"conflicts show %d\" shows the decision", s.Event)
}

type conflictsPromoteCommand struct {
	decisionSettings
	Yes bool `help:"Confirm: the runs of the new event cannot be undone."`
}

func (c *conflictsPromoteCommand) Run(ctx context.Context, std streams) error {
	return c.decide(ctx, func(w operatorWindow, row conflict.Row) change {
		promote := change{apply: func() error {
			id, err := w.Promote(ctx, row, c.Reason)
			if err != nil {
				return c.unsure(err)
			}
			if row.PromotedID != nil {
				_, err = fmt.Fprintf(std.out, "already promoted, as event %d\n", id)
				return err
			}
			_, err = fmt.Fprintf(std.out, "promoted as event %d; a running worker creates its runs\n", id)
			return err
		}}
		if !c.Yes {
			promote.refuse = advice.Usage(fmt.Sprintf("this would make body %s an event of its own, which job types would process", bodyCell(row)),
				"compare the two bodies with \"conflicts show %d\", then add --yes", c.Event)
		}
		return promote
	})
}

type conflictsDismissCommand struct{ decisionSettings }

func (c *conflictsDismissCommand) Run(ctx context.Context, std streams) error {
	return c.decide(ctx, func(w operatorWindow, row conflict.Row) change {
		return change{apply: func() error {
			if err := w.DismissConflict(ctx, row, c.Reason); err != nil {
				return c.unsure(err)
			}
			_, err := fmt.Fprintln(std.out, "dismissed")
			return err
		}}
	})
}
