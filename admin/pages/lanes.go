package pages

import (
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
	Back     string // this page, to return to after an action
}

// lanes lists the lanes that wait, the ones that a failed run holds first.
func (p *Pages) lanes(c echo.Context) error {
	ctx := c.Request().Context()
	data := lanesData{Kind: c.QueryParam("kind"), Held: c.QueryParam("held") != ""}
	filter := lanes.Filter{Held: data.Held, Limit: lanesShown + 1}
	if data.Kind != "" {
		filter.Kinds = []string{data.Kind}
	}
	data.Back = path("/lanes", "kind", data.Kind, "held", c.QueryParam("held"))
	var err error
	if data.Policies, err = lanes.Policies(ctx, p.cfg.Store.Pool()); err != nil {
		return err
	}
	if data.Lanes, err = lanes.List(ctx, p.cfg.Store.Pool(), filter); err != nil {
		return err
	}
	if len(data.Lanes) > lanesShown {
		data.Lanes, data.More = data.Lanes[:lanesShown], true
	}
	return p.show(c, "lanes", view{
		Title: "Lanes", Section: "/lanes", Data: data,
		Lead: "An ordered job type works the events of one signature request one at a time. That is a lane.",
	})
}
