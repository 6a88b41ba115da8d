package pages

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"lumin-ingest/store/lanes"
	"lumin-ingest/store/operate"
)

// planSkip shows what skipping the failed run of a lane does.
func (p *Pages) planSkip(c echo.Context) error {
	kind, request := c.QueryParam("kind"), c.QueryParam("request")
	lane, err := lanes.Find(c.Request().Context(), p.cfg.Store.Pool(), kind, request)
	if err != nil && !errors.Is(err, lanes.ErrNoLane) {
		return err
	}
	a := confirmation{
		Title: "Skip a failed run of " + kind, Section: "/lanes", Back: link{"Back", localPath(c.QueryParam("back"))},
		Points: []string{
			"The failed run that holds the lane is dismissed. It takes no effect.",
			"The next event of this signature request is worked. Replay the failed run instead if its cause is fixed.",
		},
		Facts: []fact{
			{Name: "Job type", Text: kind},
			{Name: "Signature request", Text: request, Path: requestPath(request)},
		},
		Path: "/lanes/skip", Action: "Skip the failed run", Danger: true, NeedsReason: true,
	}
	if err != nil || !lane.Held() {
		a.Nothing = "No failed run holds this lane any more."
		return p.confirm(c, a)
	}
	held := strconv.FormatInt(*lane.HeldBy, 10)
	a.Facts = append(a.Facts,
		fact{Name: "Failed event", Text: held, Path: "/events/" + held},
		fact{Name: "Error", Text: lane.Error, Error: true},
		fact{Name: "Waiting behind it", Text: plural(lane.Waiting, "run", "runs")})
	a.Fields = []field{{"kind", kind}, {"request", request}, {"key", *lane.HeldKey}, {"back", a.Back.Path}}
	return p.confirm(c, a)
}

// skipLane dismisses the failed run that the plan showed.
func (p *Pages) skipLane(c echo.Context, by operate.Actor, reason string) error {
	ctx := context.WithoutCancel(c.Request().Context())
	kind, request, back := c.FormValue("kind"), c.FormValue("request"), c.FormValue("back")
	if strings.TrimSpace(reason) == "" {
		return badForm("This needs a reason. Go back and give one.")
	}
	lane, err := lanes.Find(ctx, p.cfg.Store.Pool(), kind, request)
	if errors.Is(err, lanes.ErrNoLane) || err == nil && (!lane.Held() || *lane.HeldKey != c.FormValue("key")) {
		return done(c, "Nothing was skipped: another run holds the lane now, or none does.", back)
	}
	if err != nil {
		return err
	}
	skipped, err := p.cfg.Operator.SkipLane(ctx, by, lane, reason)
	text := "The failed run is dismissed. The next event of the lane is worked."
	if err == nil && !skipped {
		text = "Nothing was skipped: the run is no longer failed, or something else is working on it."
	}
	p.held.expire()
	if err != nil {
		return err
	}
	return done(c, text, back)
}
