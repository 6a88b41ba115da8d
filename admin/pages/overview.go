package pages

import (
	"context"
	"time"

	"github.com/labstack/echo/v4"

	"lumin-ingest/store"
	"lumin-ingest/store/alerts"
	"lumin-ingest/store/conflict"
	"lumin-ingest/store/failures"
)

// overviewData is what overview.html shows.
type overviewData struct {
	Verdict   verdict
	Now       value[work]
	Past      past
	Range     string
	Ranges    []pastRange
	LastEvent *time.Time
	Oldest    *time.Time // when the oldest pending run became pending
	Failed    int64
	Pending   int64
}

// overview is the first page: whether all is well, and what happened.
func (p *Pages) overview(c echo.Context) error {
	ctx := c.Request().Context()
	data := overviewData{Range: rangeOf(c.QueryParam("range")).Name, Ranges: ranges()}
	f, err := p.facts(ctx)
	if err != nil {
		return err
	}
	data.Verdict, data.LastEvent = judge(f), f.LastEvent
	if data.Now, err = p.work.get(ctx); err != nil {
		return err
	}
	read, err := p.past.get(ctx, data.Range)
	if err != nil {
		return err
	}
	data.Past = read.Value
	for _, t := range data.Now.Value.JobTypes {
		data.Failed += t.Failed
		data.Pending += t.Pending()
		if t.Oldest != nil && (data.Oldest == nil || t.Oldest.Before(*data.Oldest)) {
			data.Oldest = t.Oldest
		}
	}
	return p.show(c, "overview", view{Title: "Overview", Section: "/", Data: data})
}

// waiting is what waits for a person.
type waiting struct {
	Failed    failures.Groups // the biggest group
	Conflicts conflict.Undecided
	Late      store.WaitingLate
}

// readWaiting looks up many rows, so all readers share its result.
func (p *Pages) readWaiting(ctx context.Context) (w waiting, err error) {
	pool := p.cfg.Store.Pool()
	if w.Failed, err = failures.Failed().Quickly(ctx, pool, nil, nil, 1); err != nil {
		return w, err
	}
	if w.Conflicts, err = conflict.CountUndecided(ctx, pool); err != nil {
		return w, err
	}
	w.Late, err = store.CountWaitingLate(ctx, pool)
	return w, err
}

// facts reads what the verdict depends on.
func (p *Pages) facts(ctx context.Context) (f facts, err error) {
	pool := p.cfg.Store.Pool()
	now, err := p.work.get(ctx)
	if err != nil {
		return f, err
	}
	held, err := p.held.get(ctx)
	if err != nil {
		return f, err
	}
	lately, err := p.lately.get(ctx)
	if err != nil {
		return f, err
	}
	f = facts{work: now.Value, Held: held.Value, Lately: lately.Value, Now: p.cfg.Now()}
	waits, err := p.waiting.get(ctx)
	if err != nil {
		return f, err
	}
	f.waiting = waits.Value
	newest, err := p.cfg.Store.ListEvents(ctx, store.EventFilter{Limit: 1})
	if err != nil {
		return f, err
	}
	if len(newest) > 0 {
		f.LastEvent = &newest[0].ReceivedAt
	}
	if f.Alerts, err = alerts.List(ctx, pool, 0); err != nil {
		return f, err
	}
	if f.Sending, err = alerts.ReadSending(ctx, pool); err != nil {
		return f, err
	}
	if p.cfg.Warnings != nil {
		f.Warnings = p.cfg.Warnings()
	}
	if p.cfg.Sources != nil {
		f.Sources = p.cfg.Sources()
	}
	return f, nil
}
