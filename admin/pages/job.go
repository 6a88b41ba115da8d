package pages

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"lumin-ingest/store"
	"lumin-ingest/store/operate"
)

// jobData is what job.html shows.
type jobData struct {
	store.JobDetails // with indented arguments and metadata, which are empty unless Revealed

	ID       int64
	Revealed bool
}

// job leads from a job to the event that it works on. A job without an event has a page
// of its own.
func (p *Pages) job(c echo.Context) error { return p.showJob(c, false) }

// revealJob shows the page with the arguments of the job, once.
func (p *Pages) revealJob(c echo.Context) error { return p.showJob(c, true) }

func (p *Pages) showJob(c echo.Context, revealed bool) error {
	id, err := eventID(c)
	if err != nil {
		return err
	}
	gone := &problem{Status: http.StatusNotFound, Title: "The job has been removed", Text: "The queue keeps a finished job for some days only. Its event still has its run.", Do: link{"Find the event", "/events"}}
	ctx := c.Request().Context()
	event, err := p.cfg.Store.EventOfJob(ctx, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return gone
	case err == nil:
		return seeOther(c, eventPath(event))
	case !errors.Is(err, store.ErrNoRun):
		return err
	}
	if revealed {
		if err := p.reveal(c, operate.Revealed{What: "job", JobID: id}); err != nil {
			return err
		}
	}
	data := jobData{ID: id, Revealed: revealed}
	if data.JobDetails, err = p.cfg.Store.ShowJob(ctx, id); errors.Is(err, store.ErrNotFound) {
		return gone
	} else if err != nil {
		return err
	}
	data.Args, data.Metadata = data.shown(data.Args), data.shown(data.Metadata)
	name := strconv.FormatInt(id, 10)
	return p.show(c, "job", view{Title: "Job " + name, Section: "/queues", Crumbs: []link{{"Queues", "/queues"}}, Path: "/jobs/" + name, Data: data})
}

// shown is JSON that a person asked to see, indented if it is not too long.
func (d jobData) shown(text string) string {
	var pretty bytes.Buffer
	switch {
	case !d.Revealed:
		return ""
	case len(text) > longestShown || json.Indent(&pretty, []byte(text), "", "  ") != nil:
		return clip(longestShown, text)
	}
	return pretty.String()
}
