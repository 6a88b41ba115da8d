package app

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"lumin-ingest/store"
	"lumin-ingest/store/failures"
)

type failuresCommand struct {
	List    failuresListCommand    `cmd:"" default:"withargs" help:"Group failed and retrying runs by job type and error, with the command that replays each group. The default."`
	Dismiss failuresDismissCommand `cmd:"" help:"Take failed runs that will never succeed off the list of failures."`
	Restore failuresRestoreCommand `cmd:"" help:"Make dismissed runs failed again."`
}

type failuresListCommand struct {
	databaseSettings
	outputSettings
	Kind      []string `help:"Only of these job types."`
	Since     when     `placeholder:"TIME" help:"Only of runs whose last attempt failed since then: a day such as 2006-01-02, a time as the tables print it, or how long ago: 24h, 7d."`
	Dismissed bool     `help:"Group dismissed runs instead, with the reason of each group."`
	Limit     int      `default:"20" help:"Show at most this many groups in each table."`
}

// Run implements the command.
func (c *failuresListCommand) Run(ctx context.Context, std streams) error {
	if c.Limit < 1 {
		return usage(fmt.Sprintf("--limit is %d", c.Limit), "give 1 or more")
	}
	if err := c.Since.checkPast(); err != nil {
		return err
	}
	st, closeStore, err := c.openStore(ctx)
	if err != nil {
		return err
	}
	defer closeStore()
	if err := checkKinds(ctx, st, c.Kind); err != nil {
		return err
	}
	if c.Dismissed {
		return c.listDismissed(ctx, st, std.out)
	}
	failed, err := failures.Failed(ctx, st.Pool(), c.Kind, c.Since.at, c.Limit)
	if err != nil {
		return err
	}
	retrying, err := failures.Retrying(ctx, st.Pool(), c.Kind, c.Since.at, c.Limit)
	if err != nil {
		return err
	}
	if c.Output == "json" {
		return printGroups(std.out, append(failed, retrying...))
	}
	printFailed(std.out, failed)
	if len(retrying) > 0 {
		fmt.Fprintln(std.out)
		printRetrying(std.out, retrying)
	}
	dismissed, err := failures.AnyDismissed(ctx, st.Pool())
	if dismissed {
		fmt.Fprintf(std.out, "\nother runs are dismissed: %s failures --dismissed\n", invocation())
	}
	return err
}

func printGroups(w io.Writer, groups []failures.Group) error {
	for _, g := range groups {
		if err := printJSON(w, g); err != nil {
			return err
		}
	}
	return nil
}

func printFailed(w io.Writer, groups []failures.Group) {
	if len(groups) == 0 {
		fmt.Fprintln(w, "no failed runs")
		return
	}
	rows := make([][]string, len(groups))
	for i, g := range groups {
		rows[i] = []string{
			g.Kind, runsCell(g), timeCell(&g.FirstAt), timeCell(&g.LastAt),
			strconv.FormatInt(g.EventID, 10), errorCell(g.Error), commandOf("replay", g),
		}
	}
	table(w, []string{"JOB TYPE", "FAILED RUNS", "FIRST", "LAST", "EVENT", "ERROR, SUCH AS", "TO REPLAY THEM"}, rows, "ERROR, SUCH AS")
}

func printRetrying(w io.Writer, groups []failures.Group) {
	rows := make([][]string, len(groups))
	for i, g := range groups {
		next := "running"
		if g.NextAttempt != nil {
			next = timeCell(g.NextAttempt)
		}
		rows[i] = []string{
			g.Kind, runsCell(g), timeCell(&g.LastAt), next,
			strconv.FormatInt(g.EventID, 10), errorCell(g.Error), commandOf("replay --retrying", g),
		}
	}
	table(w, []string{"JOB TYPE", "RETRYING RUNS", "LAST ATTEMPT", "NEXT ATTEMPT", "EVENT", "ERROR, SUCH AS", "TO RETRY NOW"}, rows, "ERROR, SUCH AS")
}

func (c *failuresListCommand) listDismissed(ctx context.Context, st *store.Store, w io.Writer) error {
	groups, err := failures.Dismissed(ctx, st.Pool(), c.Kind, c.Since.at, c.Limit)
	if err != nil {
		return err
	}
	if c.Output == "json" {
		return printGroups(w, groups)
	}
	if len(groups) == 0 {
		fmt.Fprintln(w, "no dismissed runs")
		return nil
	}
	rows := make([][]string, len(groups))
	for i, g := range groups {
		rows[i] = []string{
			g.Kind, runsCell(g), strconv.FormatInt(g.EventID, 10), errorCell(g.Error),
			g.DismissedBy, g.Reason, commandOf("failures restore", g),
		}
	}
	table(w, []string{"JOB TYPE", "DISMISSED RUNS", "EVENT", "ERROR, SUCH AS", "DISMISSED BY", "REASON", "TO BRING THEM BACK"}, rows, "ERROR, SUCH AS", "DISMISSED BY", "REASON")
	return nil
}

// runsCell counts the runs of a group. Some may have taken effect before they were
// replayed.
func runsCell(g failures.Group) string {
	cell := strconv.FormatInt(g.Runs, 10)
	if g.SucceededBefore > 0 {
		cell += fmt.Sprintf(" (%d had succeeded before)", g.SucceededBefore)
	}
	return cell
}

// commandOf is a command on the runs of a group.
func commandOf(command string, g failures.Group) string {
	return invocation() + " " + command + " --kind " + g.Kind + " --error " + g.Fingerprint
}

// longRetrying is how long a run may be retried before doctor reports it.
const longRetrying = time.Hour

// examineRuns reports runs that have failed or keep failing.
func examineRuns(ctx context.Context, st *store.Store) ([]finding, error) {
	kinds, err := failures.CountTroubled(ctx, st.Pool(), longRetrying)
	if err != nil {
		return nil, err
	}
	return checkRuns(kinds), nil
}

func checkRuns(kinds []failures.Troubled) []finding {
	var failed, retrying []string
	for _, k := range kinds {
		if k.Failed > 0 {
			failed = append(failed, fmt.Sprintf("%s %d", k.Kind, k.Failed))
		}
		if k.Retrying > 0 {
			retrying = append(retrying, fmt.Sprintf("%s %d", k.Kind, k.Retrying))
		}
	}
	var findings []finding
	if len(failed) > 0 {
		findings = append(findings, finding{"runs", warning, "failed, with no attempts left: " + strings.Join(failed, ", "),
			"see \"" + invocation() + " failures\"; fix the cause and replay them, or dismiss them"})
	}
	if len(retrying) > 0 {
		findings = append(findings, finding{"runs", warning, "retrying for more than an hour: " + strings.Join(retrying, ", "),
			"see \"" + invocation() + " failures\" for their errors and next attempts"})
	}
	if len(findings) == 0 {
		findings = append(findings, finding{"runs", ok, "none failed, and none is retrying for more than an hour", ""})
	}
	return findings
}
