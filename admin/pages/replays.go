package pages

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/labstack/echo/v4"

	"lumin-ingest/store"
	"lumin-ingest/store/operate"
	"lumin-ingest/store/replay"
)

// replaysShown is how many orders the page lists.
const replaysShown = 50

// replaysData is what replays.html shows.
type replaysData struct {
	Orders        []replay.Order
	Older, Newest string
}

// listReplays lists replays, the newest first.
func (p *Pages) listReplays(c echo.Context) error {
	before, err := beforeID(c.QueryParam("before"))
	if err != nil {
		return err
	}
	var data replaysData
	if data.Orders, err = p.replays.List(c.Request().Context(), before, replaysShown+1); err != nil {
		return err
	}
	if len(data.Orders) > replaysShown {
		data.Orders = data.Orders[:replaysShown]
		data.Older = path("/replays", "before", data.Orders[replaysShown-1].ID)
	}
	if before > 0 {
		data.Newest = "/replays"
	}
	return p.show(c, "replays", view{
		Title: "Replays", Section: "/replays", Data: data,
		Lead: "A replay makes the runs of a filter pending again, the oldest event first.",
	})
}

// replayData is what replay.html shows.
type replayData struct {
	Order     replay.Order
	Facts     []fact
	Runs      []store.RunCount
	Settled   int64 // runs of the order that have ended
	Failed    int64
	Dismissed int64
	Later     int64 // runs that later orders have taken, or that are removed
	Reopened  int64 // runs of an order that is done, whose job was retried in River
	Total     int64 // runs that the order has or will have, as far as it is known
	Back      link
}

// countedRuns are the runs of an order, and the order as it was when they were
// counted.
type countedRuns struct {
	order replay.Order
	runs  []store.RunCount
}

// countRunsOf reads the order first, as [replay.Order.ReplayedLater] needs it.
func (p *Pages) countRunsOf(ctx context.Context, id int64) (c countedRuns, err error) {
	if c.order, err = p.replays.Get(ctx, id); err != nil {
		return c, err
	}
	c.runs, err = p.replays.Runs(ctx, id)
	return c, err
}

// add adds the numbers of runs, which may be older than the order. An order that is
// done stays so, whatever becomes of its runs.
func (d *replayData) add(counted countedRuns) {
	var open int64
	for _, n := range counted.runs {
		switch n.State {
		case "pending", "parked":
			open += n.Runs
			continue
		case "failed":
			d.Failed += n.Runs
		case "dismissed":
			d.Dismissed += n.Runs
		}
		d.Settled += n.Runs
	}
	d.Runs, d.Later = counted.runs, counted.order.ReplayedLater(counted.runs)
	d.Settled += d.Later
	if d.Total = d.Order.Enqueued - d.Order.Withdrawn; d.Order.Filter.Status == replay.Unrecognized {
		d.Total = d.Settled + open // the order counts events
	} else if d.Order.Planned != nil && d.Order.State == "running" {
		d.Total = max(d.Total, *d.Order.Planned)
	}
	if d.Settled = min(d.Settled, d.Total); d.Order.State == "done" {
		d.Settled = d.Total
	}
	if counted.order.State == "done" {
		d.Reopened = open
	}
}

// Percent is how much of the order has settled.
func (d replayData) Percent() int64 {
	if d.Total == 0 {
		return 0
	}
	return min(100, 100*d.Settled/d.Total)
}

// showReplay shows the progress of a replay.
func (p *Pages) showReplay(c echo.Context) error {
	order, err := p.replayOf(c)
	if err != nil {
		return err
	}
	runs, err := p.progress.get(c.Request().Context(), order.ID)
	if err != nil {
		return err
	}
	data := replayData{Order: order, Facts: orderFacts(order), Back: link{"Replays", "/replays"}}
	data.add(runs.Value)
	if back := c.QueryParam("back"); back != "" {
		data.Back = link{"Back", localPath(back)}
	}
	return p.show(c, "replay", view{
		Title: fmt.Sprintf("Replay %d", order.ID), Section: "/replays", Crumbs: []link{data.Back}, Data: data,
	})
}

// orderFacts describes the filter of a replay.
func orderFacts(o replay.Order) []fact {
	of := order{Do: doReplay, Filter: o.Filter}
	return append([]fact{{Name: "Runs", Text: of.runs()}}, of.facts()...)
}

func (p *Pages) replayOf(c echo.Context) (replay.Order, error) {
	id, err := strconv.ParseInt(c.Param("id"), 10, 64)
	if err != nil {
		return replay.Order{}, errNoPage
	}
	return p.replays.Get(c.Request().Context(), id)
}

// planCancelReplay shows what cancelling a replay does.
func (p *Pages) planCancelReplay(c echo.Context) error {
	order, err := p.replayOf(c)
	if err != nil {
		return err
	}
	page := fmt.Sprintf("/replays/%d", order.ID)
	a := confirmation{
		Title: fmt.Sprintf("Cancel replay %d", order.ID), Section: "/replays", Back: link{"Back", page},
		Points: []string{
			"No further run becomes pending.",
			"Runs whose job has not started get their former state back. Running jobs go on.",
		},
		Facts:  append(orderFacts(order), fact{Name: "Set to pending so far", Text: plural(order.Enqueued, "run", "runs")}),
		Path:   page + "/cancel",
		Action: "Cancel the replay", Danger: true,
	}
	if order.State != "ordered" && order.State != "running" {
		a.Nothing = "The replay has ended: it is " + order.State + "."
	}
	return p.confirm(c, a)
}

// cancelReplay cancels a replay.
func (p *Pages) cancelReplay(c echo.Context, by operate.Actor, reason string) error {
	order, err := p.replayOf(c)
	if err != nil {
		return err
	}
	page, text := fmt.Sprintf("/replays/%d", order.ID), "The replay is cancelled. A running worker restores every run whose job has not started."
	err = p.cfg.Operator.CancelReplay(context.WithoutCancel(c.Request().Context()), by, order.ID, reason)
	switch {
	case errors.Is(err, replay.ErrEnded):
		text = "Nothing was cancelled: the replay had ended already."
	case err != nil:
		return err
	}
	return done(c, text, page)
}
