package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"lumin-ingest/store"
	"lumin-ingest/store/replay"
)

// changeSettings are the flags of a command that prints its plan before it acts.
type changeSettings struct {
	DryRun bool `help:"Print the plan and change nothing."`
	Yes    bool `help:"Carry out the plan. Without this flag it is only printed."`
}

type failuresDismissCommand struct {
	databaseSettings
	All bool `help:"All failed runs, if no other filter is given."`
	runFilter
	changeSettings
	Reason string `help:"Why the runs will never succeed. It is stored with each run, so do not name a person in it."`
	By     string `placeholder:"WHO" help:"Who dismisses them. By default the user and host of this program."`
}

// Run implements the command.
func (c *failuresDismissCommand) Run(ctx context.Context, std streams) error {
	filter, err := c.wanted(c.All, "dismiss")
	if err != nil {
		return err
	}
	if strings.TrimSpace(c.Reason) == "" && !c.DryRun {
		return usage("no reason is given", "give --reason, why these runs will never succeed; or see the plan first with --dry-run")
	}
	st, closeStore, err := c.openStore(ctx)
	if err != nil {
		return err
	}
	defer closeStore()
	if err := checkNames(ctx, st, &filter, failedOrDismissed(st)); err != nil {
		return err
	}
	replays := replay.New(st)
	plan, err := replays.Plan(ctx, filter)
	if err != nil {
		return err
	}
	if len(plan) == 0 {
		fmt.Fprintln(std.out, "nothing to dismiss: no failed run matches")
		return nil
	}
	printRuns(std.out, "FAILED RUNS", plan)
	if agreed, err := c.agreed(std, "dismiss"); !agreed {
		return err
	}
	n, err := replays.Dismiss(ctx, filter, c.Reason, cmp.Or(c.By, currentActor()))
	return said(std, n, "dismissed; \"failures --dismissed\" lists them, \"failures restore\" brings them back", err)
}

type failuresRestoreCommand struct {
	databaseSettings
	All bool `help:"All dismissed runs, if no other filter is given."`
	runFilter
	changeSettings
}

// Run implements the command.
func (c *failuresRestoreCommand) Run(ctx context.Context, std streams) error {
	filter, err := c.wanted(c.All, "restore")
	if err != nil {
		return err
	}
	st, closeStore, err := c.openStore(ctx)
	if err != nil {
		return err
	}
	defer closeStore()
	if err := checkNames(ctx, st, &filter, failedOrDismissed(st)); err != nil {
		return err
	}
	replays := replay.New(st)
	plan, bodiless, err := replays.PlanRestore(ctx, filter)
	if err != nil {
		return err
	}
	if len(plan) == 0 {
		fmt.Fprintln(std.out, "nothing to restore: no dismissed run matches")
	} else {
		printRuns(std.out, "DISMISSED RUNS", plan)
	}
	if bodiless > 0 {
		fmt.Fprintf(std.out, "%s left out: retention or an erasure has removed the body of the event\n", runs(bodiless))
	}
	if len(plan) == 0 {
		return nil
	}
	if agreed, err := c.agreed(std, "restore"); !agreed {
		return err
	}
	n, err := replays.Restore(ctx, filter)
	return said(std, n, "restored; \"failures\" lists them", err)
}

// failedOrDismissed lists the errors of runs in both states, so that a repeated
// command finds nothing to do instead of an unknown error.
func failedOrDismissed(st *store.Store) func(context.Context) ([]string, error) {
	return func(ctx context.Context) ([]string, error) {
		failed, err := st.StoredFingerprints(ctx, replay.Failed.RunState())
		if err != nil {
			return nil, err
		}
		dismissed, err := st.DismissedFingerprints(ctx)
		return append(failed, dismissed...), err
	}
}

// wanted is the filter of a command that takes either --all or other filters.
func (f runFilter) wanted(all bool, verb string) (replay.Filter, error) {
	filter, err := f.filter("")
	if err != nil {
		return filter, err
	}
	none := errors.Is(filter.Validate(), replay.ErrNoFilter)
	switch {
	case none && !all:
		return filter, usage("no filter chooses the runs to "+verb, "give a filter, such as --kind, --error or --event, or give --all; --dry-run shows the plan")
	case all && !none:
		return filter, usage("--all and another filter are given", "give only one of the two")
	}
	filter.Status = replay.Failed
	return filter, nil
}

// agreed reports whether the user wants the printed plan carried out.
func (c changeSettings) agreed(std streams, verb string) (bool, error) {
	switch {
	case c.DryRun:
		fmt.Fprintln(std.out, "dry run: nothing changed")
		return false, nil
	case !c.Yes:
		return false, usage("nothing changed: the plan above needs --yes", "add --yes to %s these runs", verb)
	}
	return true, nil
}

// said prints how many runs were changed, even if an error left others unchanged.
func said(std streams, n int64, what string, err error) error {
	if err == nil || n > 0 {
		fmt.Fprintf(std.out, "%s %s\n", runs(n), what)
	}
	if err != nil && n > 0 {
		return hint(err, "the other runs have not changed: run the command again")
	}
	return err
}

// printRuns prints how many runs of each job type a plan would change.
func printRuns(w io.Writer, heading string, plan replay.Plan) {
	rows := make([][]string, len(plan))
	for i, p := range plan {
		rows[i] = []string{p.Kind, fmt.Sprint(p.Runs), timeCell(p.FirstEvent), timeCell(p.LastEvent)}
	}
	table(w, []string{"JOB TYPE", heading, "FIRST RECEIVED", "LAST RECEIVED"}, rows)
}
