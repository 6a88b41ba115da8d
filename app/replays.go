package app

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"lumin-ingest/store"
)

type replaysCommand struct {
	List   replaysListCommand   `cmd:"" help:"List replays, the newest first."`
	Show   replaysShowCommand   `cmd:"" help:"Show one replay and the states of its runs."`
	Watch  replaysWatchCommand  `cmd:"" help:"Show the progress of a replay until every run has finished. Exits 1 if any run did not succeed."`
	Cancel replaysCancelCommand `cmd:"" help:"Cancel a replay: every run whose job has not started is restored."`
}

type replaysListCommand struct {
	databaseSettings
	outputSettings
	Limit int `default:"20" help:"Show at most this many."`
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
			strconv.FormatInt(r.ID, 10), r.State, countCell(r.Planned), strconv.FormatInt(r.Enqueued-r.Withdrawn, 10),
			timeCell(&r.CreatedAt), r.OrderedBy, r.Reason,
		}
	}
	table(std.out, []string{"ID", "STATE", "PLANNED", "RUNS", "ORDERED", "BY", "REASON"}, rows, "BY", "REASON")
	return nil
}

type replaysShowCommand struct {
	databaseSettings
	outputSettings
	ID int64 `arg:"" help:"The replay's id."`
}

// Run implements the command.
func (c *replaysShowCommand) Run(ctx context.Context, std streams) error {
	st, closeStore, err := c.openStore(ctx)
	if err != nil {
		return err
	}
	defer closeStore()
	replay, err := st.Replay(ctx, c.ID)
	if err != nil {
		return noSuchReplay(err)
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
		{"runs planned", countCell(replay.Planned)}, {"runs put to pending", strconv.FormatInt(replay.Enqueued, 10)},
	}
	if replay.Rate > 0 {
		rows = append(rows, []string{"runs a second, at most", strconv.Itoa(replay.Rate)})
	}
	if replay.State == "cancelled" {
		rows = append(rows, []string{"of these, put back as they were", strconv.FormatInt(replay.Withdrawn, 10)})
	}
	if replay.Error != "" {
		rows = append(rows, []string{"note", replay.Error})
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

func noSuchReplay(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return usage(err.Error(), "\"replays list\" shows the ids")
	}
	return err
}

func countCell(n *int64) string {
	if n == nil {
		return "-"
	}
	return strconv.FormatInt(*n, 10)
}

type replaysWatchCommand struct {
	databaseSettings
	outputSettings
	ID int64 `arg:"" help:"The replay's id."`
}

// Run implements the command.
func (c *replaysWatchCommand) Run(ctx context.Context, std streams) error {
	st, closeStore, err := c.openStore(ctx)
	if err != nil {
		return err
	}
	defer closeStore()
	return watchReplay(ctx, st, std, c.ID, c.Output == "json")
}

type replaysCancelCommand struct {
	databaseSettings
	ID int64 `arg:"" help:"The replay's id."`
}

// Run implements the command.
func (c *replaysCancelCommand) Run(ctx context.Context, std streams) error {
	st, closeStore, err := c.openStore(ctx)
	if err != nil {
		return err
	}
	defer closeStore()
	switch err := st.CancelReplay(ctx, c.ID); {
	case errors.Is(err, store.ErrOver):
		fmt.Fprintf(std.out, "nothing to cancel: %v\n", err)
		return nil
	case err != nil:
		return noSuchReplay(err)
	}
	fmt.Fprintf(std.out, "replay %d cancelled; a running worker restores every run whose job has not started: %s replays show %d\n", c.ID, invocation(), c.ID)
	return nil
}
