package app

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"lumin-ingest/internal/advice"
	"lumin-ingest/store"
	"lumin-ingest/store/replay"
)

type replaysCommand struct {
	List   replaysListCommand   `cmd:"" help:"List replays, the newest first."`
	Show   replaysShowCommand   `cmd:"" help:"Show one replay and the states of its runs."`
	Watch  replaysWatchCommand  `cmd:"" help:"Show the progress of a replay until every run has finished. Exits 1 if any run did not succeed."`
	Cancel replaysCancelCommand `cmd:"" help:"Cancel a replay: every run whose job has not started is restored."`
}

type replaysListCommand struct {
	listSettings
	Limit int `default:"20" help:"Show at most this many."`
}

func (c *replaysListCommand) Run(ctx context.Context, std streams) error {
	if err := checkLimit(c.Limit); err != nil {
		return err
	}
	return list(ctx, std, c.listSettings, replayListing(), func(w operatorWindow) ([]replay.Order, error) {
		return w.Replays(ctx, 0, c.Limit)
	})
}

func replayListing() listing[replay.Order] {
	return listing[replay.Order]{
		empty:    "no replay orders",
		headings: []string{"ID", "STATE", "PLANNED", "RUNS", "ORDERED", "BY", "REASON"},
		cells: func(r replay.Order) []string {
			return []string{
				strconv.FormatInt(r.ID, 10), r.State, plannedCell(r), strconv.FormatInt(r.Enqueued-r.Withdrawn, 10),
				timeCell(&r.CreatedAt), r.OrderedBy, r.Reason,
			}
		},
		cut: []string{"BY", "REASON"},
	}
}

// oneReplay names a replay.
type oneReplay struct {
	windowSettings
	ID int64 `arg:"" help:"The replay's id."`
}

type replaysShowCommand struct {
	oneReplay
	outputSettings
}

func (c *replaysShowCommand) Run(ctx context.Context, std streams) error {
	w, closeWindow, err := c.openWindow(ctx)
	if err != nil {
		return err
	}
	defer closeWindow()
	order, err := w.ReplayOrder(ctx, c.ID)
	if err != nil {
		return noSuchReplay(err)
	}
	counts, err := w.ReplayRuns(ctx, c.ID)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(std.out, struct {
			replay.Order
			Later int64            `json:"replayed_later"`
			Runs  []store.RunCount `json:"runs"`
		}{order, order.ReplayedLater(counts), counts})
	}
	rows := [][]string{
		{"state", order.State}, {"ordered by", order.OrderedBy}, {"reason", order.Reason}, {"filter", filterText(order.Filter)},
		{"ordered", timeCell(&order.CreatedAt)}, {"started", timeCell(order.StartedAt)}, {"finished", timeCell(order.FinishedAt)},
		{"runs planned", plannedCell(order)}, {"runs set to pending", strconv.FormatInt(order.Enqueued, 10)},
	}
	if order.Rate > 0 {
		rows = append(rows, []string{"runs a second, at most", strconv.Itoa(order.Rate)})
	}
	if order.State == "cancelled" {
		rows = append(rows, []string{"of these, restored", strconv.FormatInt(order.Withdrawn, 10)})
	}
	if later := order.ReplayedLater(counts); later > 0 {
		rows = append(rows, []string{"of these, replayed again later or removed", strconv.FormatInt(later, 10)})
	}
	if order.Error != "" {
		rows = append(rows, []string{"note", order.Error})
	}
	table(std.out, []string{"REPLAY", strconv.FormatInt(order.ID, 10)}, rows)
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
		return advice.Usage(err.Error(), "\"replays list\" shows the ids")
	}
	return err
}

// plannedCell is how many runs matched when an order was started.
func plannedCell(order replay.Order) string {
	if order.Planned == nil {
		return "-"
	}
	return countText(*order.Planned, order.PlannedExactly)
}

type replaysWatchCommand struct {
	oneReplay
	outputSettings
}

func (c *replaysWatchCommand) Run(ctx context.Context, std streams) error {
	w, closeWindow, err := c.openWindow(ctx)
	if err != nil {
		return err
	}
	defer closeWindow()
	return watchReplay(ctx, w, std, c.ID, c.json())
}

type replaysCancelCommand struct {
	oneReplay
	Reason string `help:"Why. It is stored in the audit log, so do not name a person in it."`
	actorSettings
}

func (c *replaysCancelCommand) Run(ctx context.Context, std streams) error {
	w, closeWindow, err := c.openWindowAs(ctx, c.actorSettings)
	if err != nil {
		return err
	}
	defer closeWindow()
	switch err := w.CancelReplay(ctx, c.ID, c.Reason); {
	case errors.Is(err, replay.ErrEnded) && repeated(w):
		return c.ended(ctx, std, w, err)
	case errors.Is(err, replay.ErrEnded):
		fmt.Fprintf(std.out, "nothing to cancel: %v\n", err)
		return nil
	case err != nil:
		return noSuchReplay(unsure(err, "\"replays show %d\" shows whether the replay is cancelled", c.ID))
	}
	fmt.Fprintf(std.out, "replay %d cancelled; a running worker restores every run whose job has not started: %s replays show %d\n", c.ID, invocation(), c.ID)
	return nil
}

// ended reports a replay that had ended when the order to cancel it was sent again: by
// the earlier attempt, if it is cancelled.
func (c *replaysCancelCommand) ended(ctx context.Context, std streams, w operatorWindow, ended error) error {
	order, err := w.ReplayOrder(ctx, c.ID)
	switch {
	case err != nil:
		return err
	case order.State == "cancelled":
		fmt.Fprintf(std.out, "replay %d is cancelled\n", c.ID)
	default:
		fmt.Fprintf(std.out, "nothing to cancel: %v\n", ended)
	}
	return nil
}
