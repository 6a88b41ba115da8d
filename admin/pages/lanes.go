package pages

import (
	"context"
	"time"

	"github.com/labstack/echo/v4"

	"lumin-ingest/store/lanes"
)

// lanesShown is how many lanes the page lists.
const lanesShown = 100

// lanesData is what lanes.html shows.
type lanesData struct {
	Lanes    []lanes.Lane
	More     bool              // there are more than lanesShown
	Policies map[string]string // of the ordered job types
	Kind     string            // the filter
	Held     bool
	At       time.Time // when the lanes were read
	Back     string    // this page, to return to after an action
}

// laneFilter chooses lanes. An empty kind chooses all job types.
type laneFilter struct {
	Kind string
	Held bool
}

// readLanes looks up all parked and failed runs, so readers with the same filter share
// its result.
func (p *Pages) readLanes(ctx context.Context, f laneFilter) ([]lanes.Lane, error) {
	filter := lanes.Filter{Held: f.Held, Limit: lanesShown + 1}
	if f.Kind != "" {
		filter.Kinds = []string{f.Kind}
	}
	return lanes.List(ctx, p.cfg.Store.Pool(), filter)
}

// lanes lists the lanes that wait, the ones that a failed run holds first.
func (p *Pages) lanes(c echo.Context) error {
	ctx := c.Request().Context()
	data := lanesData{Kind: c.QueryParam("kind"), Held: c.QueryParam("held") != ""}
	data.Back = path("/lanes", "kind", data.Kind, "held", c.QueryParam("held"))
	var err error
	if data.Policies, err = lanes.Policies(ctx, p.cfg.Store.Pool()); err != nil {
		return err
	}
	found, err := p.waits.get(ctx, laneFilter{data.Kind, data.Held})
	if err != nil {
		return err
	}
	data.Lanes, data.At = found.Value, found.At
	if len(data.Lanes) > lanesShown {
		data.Lanes, data.More = data.Lanes[:lanesShown], true
	}
	return p.show(c, "lanes", view{
		Title: "Lanes", Section: "/lanes", Data: data,
		Lead: "An ordered job type works the events of one signature request one at a time. That is a lane.",
	})
}
