package pages

import (
	"github.com/labstack/echo/v4"

	"lumin-ingest/store"
)

// unrecognizedData is what unrecognized.html shows.
type unrecognizedData struct {
	Events  []store.EventSummary
	Older   string
	Newest  string
	MayPlan bool // there is something to replay
}

// unrecognized lists events without an identity, the newest first.
func (p *Pages) unrecognized(c echo.Context) error {
	from, err := positionOf(c.QueryParam("from"))
	if err != nil {
		return err
	}
	found, err := p.cfg.Store.Search(c.Request().Context(), store.Search{Unrecognized: true}, from, eventsShown)
	if err != nil {
		return err
	}
	data := unrecognizedData{Events: found.Events, MayPlan: len(found.Events) > 0}
	if found.Next != nil {
		data.Older = path("/unrecognized", "from", encodePosition(*found.Next))
	}
	if c.QueryParam("from") != "" {
		data.Newest = "/unrecognized"
	}
	return p.show(c, "unrecognized", view{
		Title: "Unrecognized events", Section: "/unrecognized", Data: data,
		Lead: "Their signature is valid, but their body does not name a signature request, a type and a plausible time. They are kept and have no jobs. Replay them after an update that reads such bodies.",
	})
}
