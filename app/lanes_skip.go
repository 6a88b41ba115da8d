package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"lumin-ingest/internal/advice"
	"lumin-ingest/store/lanes"
)

type lanesSkipCommand struct {
	listSettings
	Kind             string `required:"" placeholder:"KIND" help:"Job type of the lane."`
	SignatureRequest string `required:"" placeholder:"ID" help:"Signature request of the lane."`
	confirmSettings
	Reason string `help:"Why the run will never succeed. It is stored with the run, so do not name a person in it."`
	actorSettings
}

func (c *lanesSkipCommand) Run(ctx context.Context, std streams) error {
	if !c.DryRun {
		err := checkReason(c.Reason, "give --reason, why this run will never succeed; or see the plan first with --dry-run")
		if err != nil {
			return err
		}
	}
	w, closeWindow, err := c.openWindowAs(ctx, c.actorSettings)
	if err != nil {
		return err
	}
	defer closeWindow()
	if err := c.checkKind(ctx, w); err != nil {
		return err
	}
	if err := checkRequests(ctx, w, []string{c.SignatureRequest}); err != nil {
		return err
	}
	lane, err := w.Lane(ctx, c.Kind, c.SignatureRequest)
	switch {
	case errors.Is(err, lanes.ErrNoLane):
		return c.nothing(std.out, nil, "all its runs have finished")
	case err != nil:
		return err
	case lane.Held():
		return c.plan(ctx, std, w, lane).carryOut()
	case lane.HeadState == "retrying":
		return advice.Usage(fmt.Sprintf("the lane is not held: its head, event %d, is retrying; the next attempt is at %s", lane.HeadEventID, timeCell(lane.NextAttempt)),
			"wait for its last attempt; or fix the cause, and \"replay --retrying --kind %s --event %d\" makes the next attempt now", c.Kind, lane.HeadEventID)
	}
	return c.nothing(std.out, &lane, fmt.Sprintf("the lane is not held; its head, event %d, is %s", lane.HeadEventID, lane.HeadState))
}

// checkKind refuses a job type that never holds a lane.
func (c *lanesSkipCommand) checkKind(ctx context.Context, w operatorWindow) error {
	policies, err := checkOrdered(ctx, w, []string{c.Kind})
	if err != nil || policies[c.Kind] == holds {
		return err
	}
	return advice.Usage("job type "+c.Kind+" never holds a lane: its policy after a failure is "+policies[c.Kind],
		"\"failures\" lists its failed runs, and \"failures dismiss\" dismisses them")
}

// plan plans to skip the head of a held lane.
func (c *lanesSkipCommand) plan(ctx context.Context, std streams, w operatorWindow, lane lanes.Lane) change {
	planned := change{
		show: func() error { return c.show(std.out, lane) },
		apply: func() error {
			skipped, err := w.SkipLane(ctx, lane, c.Reason)
			if err != nil {
				return unsure(err, "\"lanes skip --dry-run\" with the same lane shows the run that holds it now; this was that of event %d", *lane.HeldBy)
			}
			if !skipped {
				return c.nothing(std.out, &lane, fmt.Sprintf("another session has changed the run of event %d, or is changing it", *lane.HeldBy))
			}
			return c.done(std.out, lane)
		},
	}
	if c.DryRun {
		planned.dryRun = func() error {
			if c.json() {
				return nil
			}
			return noChange(std.out)
		}
	}
	if !c.Yes {
		planned.refuse = advice.Usage("nothing changed: the plan above needs --yes", "add --yes to dismiss this run and work the next event")
	}
	return planned
}

// skipLine is a lane and whether its head was skipped, as JSON.
type skipLine struct {
	Lane    *lanes.Lane `json:"lane"`    // before the skip; null: all its runs have finished
	Skipped bool        `json:"skipped"` // false: nothing was changed
	DryRun  bool        `json:"dry_run"`
}

// show prints the plan. With JSON, the outcome has it, too.
func (c *lanesSkipCommand) show(w io.Writer, lane lanes.Lane) error {
	if c.json() {
		if c.Yes && !c.DryRun {
			return nil
		}
		return printJSON(w, skipLine{Lane: &lane, DryRun: c.DryRun})
	}
	table(w, []string{"JOB TYPE", "SIGNATURE REQUEST", "RUN TO DISMISS", "FAILED", "WAITING", "ERROR"}, [][]string{{
		lane.Kind, lane.SignatureRequestID, fmt.Sprintf("event %d", *lane.HeldBy), timeCell(lane.HeldSince),
		strconv.FormatInt(lane.Waiting, 10), errorCell(lane.Error),
	}}, "ERROR")
	return nil
}

func (c *lanesSkipCommand) nothing(w io.Writer, lane *lanes.Lane, why string) error {
	if c.json() {
		return printJSON(w, skipLine{Lane: lane, DryRun: c.DryRun})
	}
	_, err := fmt.Fprintf(w, "nothing to skip: %s\n", why)
	return err
}

func (c *lanesSkipCommand) done(w io.Writer, lane lanes.Lane) error {
	if c.json() {
		return printJSON(w, skipLine{Lane: &lane, Skipped: true})
	}
	next := "no event waits"
	if lane.Waiting > 0 {
		next = "a running worker takes the next event"
	}
	_, err := fmt.Fprintf(w, "event %[1]d skipped; %[2]s; \"failures restore --kind %[3]s --event %[1]d\" brings it back\n", *lane.HeldBy, next, lane.Kind)
	return err
}
