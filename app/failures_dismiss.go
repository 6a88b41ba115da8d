package app

import (
	"context"
	"errors"
	"fmt"
	"io"

	"lumin-ingest/admin/window"
	"lumin-ingest/internal/advice"
	"lumin-ingest/store/operate"
	"lumin-ingest/store/replay"
)

// confirmSettings are the flags of a command that prints its plan before it
// acts.
type confirmSettings struct {
	DryRun bool `help:"Print the plan and change nothing."`
	Yes    bool `help:"Carry out the plan. Without this flag it is only printed."`
}

// dismissSettings are the flags that dismiss and restore share.
type dismissSettings struct {
	windowSettings
	runFilter
	confirmSettings
	exactSettings
}

type failuresDismissCommand struct {
	All  bool `help:"All failed runs, if no other filter is given."`
	Late bool `help:"Late events instead of failed runs: all of them, or those that match the other filters. They then no longer wait for a decision, and no job type runs."`
	dismissSettings
	Reason string `help:"Why the runs will never succeed, or why the late events need no runs. It is stored with each run, so do not name a person in it."`
	actorSettings
}

func (c *failuresDismissCommand) Run(ctx context.Context, std streams) error {
	filter, err := c.dismissFilter()
	if err != nil {
		return err
	}
	texts := runChange{heading: "FAILED RUNS", empty: "nothing to dismiss: no failed run matches"}
	if c.Late {
		texts = runChange{heading: "RUNS OF LATE EVENTS", empty: "nothing to dismiss: no late event without a run matches"}
	}
	if !c.DryRun {
		err := checkReason(c.Reason, "give --reason, why these runs will never succeed; or see the plan first with --dry-run")
		if err != nil {
			return err
		}
	}
	return c.carryOut(ctx, std, c.actorSettings, filter, runChange{
		verb: "dismiss", heading: texts.heading, empty: texts.empty,
		done: "dismissed; \"failures --dismissed\" lists them, \"failures restore\" brings them back",
		plan: func(w operatorWindow, filter replay.Filter) (window.Plan, error) {
			return w.PlanDismissal(ctx, filter, c.Exact)
		},
		apply: func(w operatorWindow, filter replay.Filter) (int64, error) {
			return w.Dismiss(ctx, filter, c.Reason)
		},
	})
}

// dismissFilter returns the filter that the flags make.
func (c *failuresDismissCommand) dismissFilter() (replay.Filter, error) {
	if !c.Late {
		return c.failedFilter(c.All, "dismiss")
	}
	if c.All {
		return replay.Filter{}, advice.Usage("--all and --late are given", "give only one of the two; --late alone is all late events")
	}
	filter, err := c.filter(replay.Late)
	if err == nil {
		if invalid := filter.Validate(); invalid != nil {
			err = advice.Usage(invalid.Error(), "\"failures dismiss --help\" explains the filters")
		}
	}
	return filter, err
}

type failuresRestoreCommand struct {
	All bool `help:"All dismissed runs, if no other filter is given."`
	dismissSettings
	Reason string `help:"Why. It is stored in the audit log, so do not name a person in it."`
	actorSettings
}

func (c *failuresRestoreCommand) Run(ctx context.Context, std streams) error {
	filter, err := c.failedFilter(c.All, "restore")
	if err != nil {
		return err
	}
	return c.carryOut(ctx, std, c.actorSettings, filter, runChange{
		verb: "restore", heading: "DISMISSED RUNS", empty: "nothing to restore: no dismissed run matches",
		done: "restored; \"failures\" lists them",
		plan: func(w operatorWindow, filter replay.Filter) (window.Plan, error) {
			return w.PlanRestoration(ctx, filter, c.Exact)
		},
		apply: func(w operatorWindow, filter replay.Filter) (int64, error) {
			return w.Restore(ctx, filter, c.Reason)
		},
	})
}

// runChange is a change to the states of runs.
type runChange struct {
	verb    string // what the user orders
	heading string // of the number of runs in the plan
	empty   string // printed in place of an empty plan
	done    string // printed after the number of changed runs

	plan  func(operatorWindow, replay.Filter) (window.Plan, error)
	apply func(operatorWindow, replay.Filter) (changed int64, err error)
}

// carryOut plans a change of the runs that the filter chooses, and makes it.
func (s dismissSettings) carryOut(ctx context.Context, std streams, by actorSettings, filter replay.Filter, c runChange) error {
	w, closeWindow, err := s.openWindowAs(ctx, by)
	if err != nil {
		return err
	}
	defer closeWindow()
	if err := checkNames(ctx, w, &filter, failedOrDismissed(w)); err != nil {
		return err
	}
	plan, err := c.plan(w, filter)
	if err != nil {
		return err
	}
	filter.AsOf = plan.AsOf
	planned := change{
		show:  func() error { c.show(std.out, plan); return nil },
		empty: plan.Empty(),
		apply: func() error {
			n, err := c.apply(w, filter)
			return reportChanged(std, w, n, c.done, err)
		},
	}
	if s.DryRun {
		planned.dryRun = func() error { return noChangeAsOf(std.out, plan) }
	}
	if !s.Yes {
		planned.refuse = advice.Usage("nothing changed: the plan above needs --yes", "add --yes to %s these runs%s", c.verb, asOfFlag(plan))
	}
	return planned.carryOut()
}

// show prints the number of runs of each job type that the plan would change.
func (c runChange) show(w io.Writer, plan window.Plan) {
	if len(plan.JobTypes) == 0 && !plan.Exact {
		noEstimate(w, plan.MayMiss)
		return
	}
	listing[window.PlannedRuns]{
		empty:    c.empty,
		headings: []string{"JOB TYPE", c.heading, "FIRST RECEIVED", "LAST RECEIVED"},
		cells: func(p window.PlannedRuns) []string {
			return []string{textCell(p.Kind), countText(p.Runs, plan.Exact), timeCell(p.FirstReceived), timeCell(p.LastReceived)}
		},
	}.table(w, plan.JobTypes)
	noteEstimate(w, plan.Exact, "job type", plan.MayMiss)
	noteLeftOut(w, plan.LeftOut)
}

// failedOrDismissed lists the errors of runs in both states, so that a repeated
// command finds nothing to do instead of an unknown error.
func failedOrDismissed(w operatorWindow) func(context.Context) ([]string, bool, error) {
	return func(ctx context.Context) ([]string, bool, error) {
		failed, all, err := w.Fingerprints(ctx, replay.Failed.RunState())
		if err != nil || !all {
			return nil, false, err
		}
		dismissed, all, err := w.Fingerprints(ctx, "dismissed")
		return append(failed, dismissed...), all, err
	}
}

// failedFilter returns the filter of a command that takes either --all or other
// filters.
func (f runFilter) failedFilter(all bool, verb string) (replay.Filter, error) {
	filter, err := f.filter("")
	if err != nil {
		return filter, err
	}
	none := errors.Is(filter.Validate(), replay.ErrNoFilter)
	switch {
	case none && !all:
		return filter, advice.Usage("no filter chooses the runs to "+verb, "give a filter, such as --kind, --error or --event, or give --all; --dry-run shows the plan")
	case all && !none:
		return filter, advice.Usage("--all and another filter are given", "give only one of the two")
	}
	filter.Status = replay.Failed
	return filter, nil
}

// reportChanged prints how many runs were changed, even if an error left others
// unchanged.
func reportChanged(std streams, w operatorWindow, n int64, done string, err error) error {
	if err == nil || n > 0 {
		fmt.Fprintf(std.out, "%s %s\n", runs(n), done)
		noteRepeated(std.out, w, n)
	}
	if errors.Is(err, operate.ErrInDoubt) || err != nil && n > 0 && !errors.Is(err, operate.ErrNoOutcome) {
		remedy := "run the command again for the rest: it leaves out the runs that have changed"
		if first := advice.Given(err); first != "" {
			remedy = first + "; then " + remedy
		}
		return advice.Add(err, "%s", remedy)
	}
	return unsure(err, "\"failures\" lists the failed runs")
}
