package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"lumin-ingest/store"
)

type replayCommand struct {
	databaseSettings
	Failed           bool     `help:"All failed runs, or those of them that the other filters leave."`
	Kind             []string `help:"Only of these job types."`
	EventType        []string `help:"Only of these event types of Lumin's."`
	Source           []string `help:"Only of these sources: account or app:NAME."`
	SignatureRequest []string `placeholder:"ID" help:"Only of these signature requests."`
	Event            []int64  `placeholder:"ID" help:"Only of these events."`
	Since            when     `placeholder:"TIME" help:"Only of events received since then: 2006-01-02, a time, or how long ago: 24h, 7d."`
	Until            when     `placeholder:"TIME" help:"Only of events received before then."`
	Reason           string   `help:"Why, for whoever reads the order later."`
	DryRun           bool     `help:"Print the plan and change nothing."`
}

// Run implements the command.
func (c *replayCommand) Run(ctx context.Context, std streams) error {
	filter := store.ReplayFilter{
		Failed: c.Failed, Kinds: c.Kind, EventTypes: c.EventType, Sources: c.Source,
		SignatureRequestIDs: c.SignatureRequest, EventIDs: c.Event, ReceivedSince: c.Since.at, ReceivedUntil: c.Until.at,
	}
	if err := filter.Validate(); errors.Is(err, store.ErrNoFilter) {
		return usage("nothing says what to replay", "give a filter, such as --failed for all failed runs, --kind, --event or --since; --dry-run shows the plan")
	} else if err != nil {
		return usage(err.Error(), "--since must be before --until")
	}
	if err := checkSource(c.Source...); err != nil {
		return err
	}
	st, closeStore, err := c.openStore(ctx)
	if err != nil {
		return err
	}
	defer closeStore()
	if err := checkNames(ctx, st, filter); err != nil {
		return err
	}
	plan, err := st.PlanReplay(ctx, filter)
	if err != nil {
		return err
	}
	if len(plan) == 0 {
		fmt.Fprintln(std.out, "nothing to replay: no failed run matches")
		return nil
	}
	printPlan(std.out, plan)
	if c.DryRun {
		fmt.Fprintln(std.out, "dry run: nothing changed")
		return nil
	}
	id, err := st.OrderReplay(ctx, filter, c.Reason)
	if err != nil {
		return err
	}
	fmt.Fprintf(std.out, "replay %d ordered; a running worker carries it out: lumin-ingest replays show %d\n", id, id)
	return nil
}

// checkNames refuses names and ids that match nothing because they do not exist.
func checkNames(ctx context.Context, st *store.Store, filter store.ReplayFilter) error {
	kinds, err := st.KnownKinds(ctx)
	if err != nil {
		return err
	}
	for _, kind := range filter.Kinds {
		if !slices.Contains(kinds, kind) {
			known := "none is: no worker has run on it yet"
			if len(kinds) > 0 {
				known = "known are: " + strings.Join(kinds, ", ")
			}
			return usage(fmt.Sprintf("no job type %q has ever been registered in this database", kind), "%s", known)
		}
	}
	for _, id := range filter.EventIDs {
		if _, err := st.ShowEvent(ctx, id); err != nil {
			return noSuchEvent(err)
		}
	}
	return nil
}

func printPlan(w io.Writer, plan []store.PlannedReplay) {
	rows := make([][]string, len(plan))
	for i, p := range plan {
		rows[i] = []string{p.Kind, strconv.FormatInt(p.Runs, 10), timeCell(&p.FirstEvent), timeCell(&p.LastEvent)}
	}
	table(w, []string{"JOB TYPE", "FAILED RUNS", "FIRST RECEIVED", "LAST RECEIVED"}, rows)
}

// filterText says in one line what an order is about.
func filterText(f store.ReplayFilter) string {
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
	if f.Failed {
		parts = append(parts, "failed")
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
	bound("received since", f.ReceivedSince)
	bound("received until", f.ReceivedUntil)
	bound("event time since", f.EventSince)
	bound("event time until", f.EventUntil)
	return strings.Join(parts, "; ")
}

type replaysCommand struct {
	List replaysListCommand `cmd:"" help:"List replay orders, the newest first."`
	Show replaysShowCommand `cmd:"" help:"Show one order and where its runs are."`
}

type replaysListCommand struct {
	databaseSettings
	outputSettings
	Limit int `default:"20" help:"At most so many."`
}

// Run implements the command.
func (c *replaysListCommand) Run(ctx context.Context, std streams) error {
	if c.Limit < 1 {
		return usage(fmt.Sprintf("--limit is %d", c.Limit), "give 1 or more")
	}
	st, closeStore, err := c.openStore(ctx)
	if err != nil {
		return err
	}
	defer closeStore()
	replays, err := st.Replays(ctx, c.Limit)
	if err != nil {
		return err
	}
	if c.Output == "json" {
		for _, r := range replays {
			if err := printJSON(std.out, r); err != nil {
				return err
			}
		}
		return nil
	}
	if len(replays) == 0 {
		fmt.Fprintln(std.out, "no replay orders")
		return nil
	}
	rows := make([][]string, len(replays))
	for i, r := range replays {
		rows[i] = []string{
			strconv.FormatInt(r.ID, 10), r.State, strconv.FormatInt(r.Enqueued, 10),
			timeCell(&r.CreatedAt), r.OrderedBy, r.Reason,
		}
	}
	table(std.out, []string{"ID", "STATE", "RUNS", "ORDERED", "BY", "REASON"}, rows)
	return nil
}

type replaysShowCommand struct {
	databaseSettings
	outputSettings
	ID int64 `arg:"" help:"The order's id."`
}

// Run implements the command.
func (c *replaysShowCommand) Run(ctx context.Context, std streams) error {
	st, closeStore, err := c.openStore(ctx)
	if err != nil {
		return err
	}
	defer closeStore()
	replay, err := st.Replay(ctx, c.ID)
	if errors.Is(err, store.ErrNotFound) {
		return usage(err.Error(), "\"replays list\" shows the ids")
	}
	if err != nil {
		return err
	}
	counts, err := st.ReplayRuns(ctx, c.ID)
	if err != nil {
		return err
	}
	if c.Output == "json" {
		return printJSON(std.out, struct {
			store.Replay
			Runs []store.RunCount `json:"runs"`
		}{replay, counts})
	}
	rows := [][]string{
		{"state", replay.State}, {"ordered by", replay.OrderedBy}, {"reason", replay.Reason}, {"filter", filterText(replay.Filter)},
		{"ordered", timeCell(&replay.CreatedAt)}, {"started", timeCell(replay.StartedAt)}, {"finished", timeCell(replay.FinishedAt)},
		{"runs put back to pending", strconv.FormatInt(replay.Enqueued, 10)},
	}
	if replay.Error != "" {
		rows = append(rows, []string{"refused because", replay.Error})
	}
	table(std.out, []string{"REPLAY", strconv.FormatInt(replay.ID, 10)}, rows)
	if len(counts) > 0 {
		rows = nil
		for _, n := range counts {
			rows = append(rows, []string{n.Kind, n.State, strconv.FormatInt(n.Runs, 10)})
		}
		fmt.Fprintln(std.out)
		table(std.out, []string{"JOB TYPE", "STATE NOW", "RUNS"}, rows)
	}
	return nil
}
