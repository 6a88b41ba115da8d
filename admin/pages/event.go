package pages

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"

	"github.com/labstack/echo/v4"

	"lumin-ingest/store"
	"lumin-ingest/store/operate"
)

// eventData is what event.html shows.
type eventData struct {
	Event  store.EventDetails
	Runs   []runData
	Copies []store.EventSummary // of the same event key, from other sources
	Bodies []otherBody
	Body   body

	Recovered *recovery // nil unless the event is recovered
	Waits     bool      // it is late, and no run was created
	Revealed  bool      // personal data is shown
}

// recovery is what the body of a recovered event says about its recovery.
type recovery struct {
	By  string `json:"by"`
	API string `json:"api"`
}

// recoveryOf reads who recovered an event. It is empty if the body was removed or
// may not be read.
func (p *Pages) recoveryOf(ctx context.Context, e store.EventDetails) (*recovery, error) {
	var envelope struct {
		Recovered recovery `json:"recovered"`
	}
	switch {
	case e.Source != store.RecoveredSource:
		return nil, nil //nolint:nilnil // documented
	case e.PayloadSize == nil || e.PayloadRemovedAt != nil:
		return &envelope.Recovered, nil
	}
	payload, err := p.cfg.Store.Payload(ctx, e.ID)
	if errors.Is(err, store.ErrPayloadRemoved) {
		err = nil
	}
	_ = json.Unmarshal(payload, &envelope) // what it has read is shown
	return &envelope.Recovered, err
}

// event shows one event.
func (p *Pages) event(c echo.Context) error { return p.showEvent(c, false) }

// revealEvent shows one event with its personal data, once.
func (p *Pages) revealEvent(c echo.Context) error { return p.showEvent(c, true) }

func (p *Pages) showEvent(c echo.Context, revealed bool) error {
	ctx := c.Request().Context()
	id, err := eventID(c)
	if err != nil {
		return err
	}
	data := eventData{Revealed: revealed}
	if data.Event, err = p.cfg.Store.ShowEvent(ctx, id); err != nil {
		return err
	}
	if revealed {
		if err := p.reveal(c, operate.Revealed{What: "event", EventID: id}); err != nil {
			return err
		}
	}
	if data.Body, err = p.bodyOf(ctx, data.Event, revealed); err != nil {
		return err
	}
	if data.Runs, err = p.runsOf(ctx, data.Event); err != nil {
		return err
	}
	data.Waits = data.Event.Late && len(data.Event.RunsByKind) == 0
	if data.Recovered, err = p.recoveryOf(ctx, data.Event); err != nil {
		return err
	}
	if data.Copies, err = p.copiesOf(ctx, data.Event); err != nil {
		return err
	}
	if data.Bodies, err = p.otherBodies(ctx, data.Event, revealed); err != nil {
		return err
	}
	title := "Event " + strconv.FormatInt(id, 10)
	return p.show(c, "event", view{Title: title, Section: "/events", Crumbs: []link{{"Events", "/events"}}, Path: eventPath(id), Data: data})
}

// eventID reads the id of an event from the path.
func eventID(c echo.Context) (int64, error) {
	id, err := strconv.ParseInt(c.Param("id"), 10, 64)
	if err != nil || id < 0 {
		return 0, errNoPage
	}
	return id, nil
}

// copiesOf lists the events of other sources with the same event key.
func (p *Pages) copiesOf(ctx context.Context, e store.EventDetails) (others []store.EventSummary, err error) {
	key, err := parseKey(e.Key)
	if err != nil {
		return nil, err
	}
	all, err := p.cfg.Store.EventsByKey(ctx, key)
	for _, o := range all {
		if o.ID != e.ID {
			others = append(others, o)
		}
	}
	return others, err
}

func eventPath(id int64) string { return "/events/" + strconv.FormatInt(id, 10) }

// sortByTime puts events in the order in which they happened.
func sortByTime(events []requestEvent) {
	slices.SortStableFunc(events, func(a, b requestEvent) int {
		if a.EventTime == nil || b.EventTime == nil {
			return a.ReceivedAt.Compare(b.ReceivedAt)
		}
		return cmp.Or(a.EventTime.Compare(*b.EventTime), cmp.Compare(a.ID, b.ID))
	})
}
