package app

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"lumin-ingest/internal/advice"
	"lumin-ingest/store/replay"
)

type replayCommand struct {
	listSettings
	exactSettings
	Failed       bool `xor:"status" help:"Failed runs: all of them, or those that match the other filters. The default if another filter is given."`
	Retrying     bool `xor:"status" help:"Runs that wait for their next attempt. They get it now."`
	Cancelled    bool `xor:"status" help:"Cancelled runs."`
	Missing      bool `xor:"status" help:"Events that were stored before the job types in --kind were registered, the oldest first."`
	Late         bool `xor:"status" help:"Late events, which were stored without running job types: see LATE_EVENTS. All job types that subscribe to them, or those in --kind; the oldest event first."`
	Succeeded    bool `xor:"status" help:"Succeeded runs. Their effects happen once more. Needs another filter."`
	Unrecognized bool `xor:"status" help:"Unrecognized events. They are decoded again, which helps after an upgrade."`
	runFilter
	Rate   *int   `placeholder:"N" help:"At most N runs a second."`
	Reason string `help:"Reason for the replay. It is stored with the replay."`
	actorSettings
	DryRun bool `help:"Print the plan and change nothing."`
	Wait   bool `help:"Show the progress until every run has finished. Exits 1 if any run did not succeed."`
	trySettings
}

// status returns the status that a flag names; empty if none does.
func (c *replayCommand) status() replay.Status {
	for status, given := range map[replay.Status]bool{
		replay.Failed: c.Failed, replay.Retrying: c.Retrying, replay.Cancelled: c.Cancelled,
		replay.Missing: c.Missing, replay.Late: c.Late, replay.Succeeded: c.Succeeded, replay.Unrecognized: c.Unrecognized,
	} {
		if given {
			return status
		}
	}
	return ""
}

// order returns the order that the flags make.
func (c *replayCommand) order() (replay.NewOrder, error) {
	filter, err := c.filter(c.status())
	if err != nil {
		return replay.NewOrder{}, err
	}
	order := replay.NewOrder{Filter: filter, Reason: c.Reason}
	if c.Rate != nil {
		if order.Rate = *c.Rate; order.Rate < 1 {
			return order, advice.Usage(fmt.Sprintf("--rate is %d", order.Rate), "give 1 or more runs a second, or leave it out for no limit")
		}
	}
	switch err := order.Validate(); {
	case errors.Is(err, replay.ErrNoFilter):
		return order, advice.Usage("no filter chooses the runs to replay", "give a filter, such as --failed for all failed runs, --kind, --event or --since; --dry-run shows the plan")
	case err != nil:
		return order, advice.Usage(err.Error(), "\"replay --help\" explains the filters")
	}
	return order, nil
}

func (c *replayCommand) Run(ctx context.Context, std streams, jobTypes JobTypes) error {
	if err := c.checkTry(); err != nil {
		return err
	}
	if c.Try {
		if err := c.needDatabase("--try"); err != nil {
			return err
		}
	}
	order, err := c.order()
	if err != nil {
		return err
	}
	w, closeWindow, err := c.openWindowAs(ctx, c.actorSettings)
	if err != nil {
		return err
	}
	defer closeWindow()
	known := func(ctx context.Context) ([]string, bool, error) {
		return w.Fingerprints(ctx, order.Filter.Status.RunState())
	}
	if err := checkNames(ctx, w, &order.Filter, known); err != nil {
		return err
	}
	plan, err := w.PlanReplay(ctx, order.Filter, c.Exact)
	if err != nil {
		return err
	}
	order.Filter.AsOf = plan.AsOf
	out := c.printer(std.out, order)
	planned := change{
		show:  func() error { return out.plan(plan) },
		empty: plan.Empty(),
		apply: func() error { return c.place(ctx, std, w, order, out) },
	}
	switch {
	case c.Try:
		c.addTrial(&planned, std, func() error { return c.tryRuns(ctx, std, order.Filter, plan, jobTypes) })
	case c.DryRun:
		planned.dryRun = out.notOrdered
	}
	return planned.carryOut()
}

// place orders the replay, and waits for its end if the user asked for that.
func (c *replayCommand) place(ctx context.Context, std streams, w operatorWindow, order replay.NewOrder, out replayPrinter) error {
	order.Token = newToken()
	id, lost := surely(ctx, w, func() (int64, error) { return w.Replay(ctx, order) })
	if id == 0 && lost != nil {
		return unsure(lost, "\"replays list\" shows whether the replay is ordered")
	}
	if err := out.ordered(id); err != nil {
		return err
	}
	if lost != nil {
		return unsure(lost, "\"replays watch %d\" shows its progress", id)
	}
	if !c.Wait {
		return nil
	}
	return watchReplay(ctx, w, std, id, c.json())
}

// replayTargets describes what a replay with this status repeats.
func replayTargets(status replay.Status) string {
	switch status {
	case replay.Missing:
		return "stored event without a run"
	case replay.Late:
		return "late event without a run"
	case replay.Unrecognized:
		return "unrecognized event that can be decoded now"
	case "":
		return "failed run"
	default:
		return string(status) + " run"
	}
}

// runs formats a number of runs.
func runs(n int64) string {
	if n == 1 {
		return "1 run"
	}
	return strconv.FormatInt(n, 10) + " runs"
}

// approxDuration rounds a duration to seconds, and a long one to minutes.
func approxDuration(d time.Duration) string {
	if d < time.Second {
		return "1s"
	}
	if d > time.Hour {
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return d.Round(time.Second).String()
}

// filterText describes a filter in one line.
func filterText(f replay.Filter) string {
	var parts []string
	add := func(what string, values []string) {
		if len(values) > 0 {
			parts = append(parts, what+" "+strings.Join(values, ", "))
		}
	}
	bound := func(what string, at *time.Time) {
		if at != nil {
			parts = append(parts, what+" "+at.UTC().Format(time.RFC3339Nano))
		}
	}
	if f.Status != "" {
		parts = append(parts, string(f.Status))
	}
	add("job type", f.Kinds)
	add("event type", f.EventTypes)
	add("source", f.Sources)
	add("signature request", f.SignatureRequestIDs)
	var ids []string
	for _, id := range f.EventIDs {
		ids = append(ids, strconv.FormatInt(id, 10))
	}
	add("event", ids)
	add("error", f.ErrorFingerprints)
	bound("received since", f.ReceivedSince)
	bound("received until", f.ReceivedUntil)
	bound("event time since", f.EventSince)
	bound("event time until", f.EventUntil)
	bound("as of", f.AsOf)
	return strings.Join(parts, "; ")
}
