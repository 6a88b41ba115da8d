package pages

import (
	"github.com/labstack/echo/v4"
)

// jobTypes lists job types with their work, their subscriptions and where they
// run.
func (p *Pages) jobTypes(c echo.Context) error {
	now, err := p.work.get(c.Request().Context())
	if err != nil {
		return err
	}
	return p.show(c, "job_types", view{
		Title: "Job types", Section: "/job-types", Data: now,
		Lead: "A job type is worked once for each event that it subscribes to.",
	})
}
