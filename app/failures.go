package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"lumin-ingest/admin/window"
	"lumin-ingest/store/failures"
)

type failuresCommand struct {
	List    failuresListCommand    `cmd:"" default:"withargs" help:"Group failed and retrying runs by job type and error, with the command that replays each group. The default."`
	Dismiss failuresDismissCommand `cmd:"" help:"Take failed runs that will never succeed off the list of failures."`
	Restore failuresRestoreCommand `cmd:"" help:"Make dismissed runs failed again."`
}

type failuresListCommand struct {
	listSettings
	exactSettings
	Kind      []string `help:"Only of these job types."`
	Since     when     `placeholder:"TIME" help:"Only of runs whose last attempt failed since then: a day such as 2006-01-02, a time as the tables print it, or how long ago: 24h, 7d."`
	Dismissed bool     `help:"Group dismissed runs instead, with the reasons of each group."`
	Limit     int      `default:"20" help:"Show at most this many groups in each table."`
}

func (c *failuresListCommand) Run(ctx context.Context, std streams) error {
	if err := checkLimit(c.Limit); err != nil {
		return err
	}
	if err := c.Since.checkPast(); err != nil {
		return err
	}
	w, closeWindow, err := c.openWindow(ctx)
	if err != nil {
		return err
	}
	defer closeWindow()
	if err := checkKinds(ctx, w, c.Kind); err != nil {
		return err
	}
	if c.Dismissed {
		groups, err := w.Failures(ctx, c.of("dismissed"))
		if lost(err) || c.json() {
			return errors.Join(err, printLines(std.out, groups.Groups))
		}
		showGroups(std.out, dismissedListing(), groups)
		return err
	}
	failed, cut := w.Failures(ctx, c.of("failed"))
	if lost(cut) {
		return cut
	}
	retrying, err := w.Failures(ctx, c.of("retrying"))
	if lost(err) {
		return err
	}
	if err != nil {
		cut = err
	}
	if c.json() {
		return errors.Join(cut, printLines(std.out, append(failed.Groups, retrying.Groups...)))
	}
	showGroups(std.out, failedListing(), failed)
	if err := noteHeldLanes(ctx, std.out, w, failed.Groups); err != nil {
		return err
	}
	if len(retrying.Groups) > 0 {
		fmt.Fprintln(std.out)
		showGroups(std.out, retryingListing(), retrying)
	}
	dismissed, err := w.AnyDismissed(ctx)
	if dismissed {
		fmt.Fprintf(std.out, "\nother runs are dismissed: %s failures --dismissed\n", invocation())
	}
	return errors.Join(cut, err)
}

// of returns the filter that the flags make, for runs in a state.
func (c *failuresListCommand) of(state string) window.FailureFilter {
	return window.FailureFilter{State: state, Kinds: c.Kind, Since: c.Since.at, Limit: c.Limit, Exact: c.Exact}
}

// showGroups prints groups as a table, and whether they are estimated.
func showGroups(w io.Writer, l listing[failures.Group], groups failures.Groups) {
	if len(groups.Groups) == 0 && !groups.Exact {
		noEstimate(w, groups.MayMiss)
		return
	}
	l.table(w, groups.Groups)
	noteEstimate(w, groups.Exact, "group", groups.MayMiss)
}

// noteHeldLanes says which of the failed runs hold lanes: those of job types with
// that policy.
func noteHeldLanes(ctx context.Context, out io.Writer, w operatorWindow, failed []failures.Group) error {
	policies, err := w.LanePolicies(ctx)
	if err != nil {
		return err
	}
	var kinds []string
	for _, g := range failed {
		if policies[g.Kind] == holds && !slices.Contains(kinds, g.Kind) {
			kinds = append(kinds, g.Kind)
		}
	}
	if len(kinds) > 0 {
		fmt.Fprintf(out, "\nfailed runs of %s hold later events of their signature requests: %s lanes list --held\n", strings.Join(kinds, ", "), invocation())
	}
	return nil
}

func failedListing() listing[failures.Group] {
	return listing[failures.Group]{
		empty:    "no failed runs",
		headings: []string{"JOB TYPE", "FAILED RUNS", "FIRST", "LAST", "EVENT", "ERROR, SUCH AS", "TO REPLAY THEM"},
		cells: func(g failures.Group) []string {
			return []string{
				g.Kind, runsCell(g), timeCell(&g.FirstAt), timeCell(&g.LastAt),
				strconv.FormatInt(g.EventID, 10), errorCell(g.Error), commandOf("replay", g),
			}
		},
		cut: []string{"ERROR, SUCH AS"},
	}
}

func retryingListing() listing[failures.Group] {
	return listing[failures.Group]{
		headings: []string{"JOB TYPE", "RETRYING RUNS", "LAST ATTEMPT", "NEXT ATTEMPT", "EVENT", "ERROR, SUCH AS", "TO RETRY NOW"},
		cells: func(g failures.Group) []string {
			next := "running"
			if g.NextAttempt != nil {
				next = timeCell(g.NextAttempt)
			}
			return []string{
				g.Kind, runsCell(g), timeCell(&g.LastAt), next,
				strconv.FormatInt(g.EventID, 10), errorCell(g.Error), commandOf("replay --retrying", g),
			}
		},
		cut: []string{"ERROR, SUCH AS"},
	}
}

func dismissedListing() listing[failures.Group] {
	return listing[failures.Group]{
		empty:    "no dismissed runs",
		headings: []string{"JOB TYPE", "DISMISSED RUNS", "EVENT", "ERROR, SUCH AS", "DISMISSED BY", "REASON", "TO BRING THEM BACK"},
		cells: func(g failures.Group) []string {
			return []string{
				g.Kind, runsCell(g), strconv.FormatInt(g.EventID, 10), errorCell(g.Error),
				dismissedByCell(g), reasonsCell(g), commandOf("failures restore", g),
			}
		},
		cut: []string{"ERROR, SUCH AS", "DISMISSED BY", "REASON"},
	}
}

// dismissedByCell names the persons who dismissed most of the runs of a group.
func dismissedByCell(g failures.Group) string {
	var names []string
	for _, d := range g.Dismissals {
		if !slices.Contains(names, d.By) {
			names = append(names, d.By)
		}
	}
	return andOthers(strings.Join(names, ", "), g)
}

// reasonsCell is the reason of a group of dismissed runs, or its reasons with the
// runs of each.
func reasonsCell(g failures.Group) string {
	if len(g.Dismissals) == 1 {
		return g.Dismissals[0].Reason
	}
	var reasons []string
	for _, d := range g.Dismissals {
		reasons = append(reasons, fmt.Sprintf("%s (%s by %s)", d.Reason, countText(d.Runs, g.Exact), d.By))
	}
	return andOthers(strings.Join(reasons, ", "), g)
}

func andOthers(text string, g failures.Group) string {
	if g.OtherDismissals() > 0 {
		return text + " and others"
	}
	return text
}

// runsCell counts the runs of a group. Some may have taken effect before they
// were replayed.
func runsCell(g failures.Group) string {
	cell := countText(g.Runs, g.Exact)
	if g.SucceededBefore > 0 {
		cell += fmt.Sprintf(" (%s had succeeded before)", countText(g.SucceededBefore, g.Exact))
	}
	return cell
}

// commandOf returns a command line that acts on the runs of a group.
func commandOf(command string, g failures.Group) string {
	return invocation() + " " + command + " --kind " + g.Kind + " --error " + g.Fingerprint
}
