package pages

import (
	"context"
	"fmt"
	"net/url"
	"slices"

	"github.com/labstack/echo/v4"

	"lumin-ingest/store/operate"
	"lumin-ingest/store/workload"
)

// queues lists the queues, and the programs that work them.
func (p *Pages) queues(c echo.Context) error {
	now, err := p.work.get(c.Request().Context())
	if err != nil {
		return err
	}
	return p.show(c, "queues", view{
		Title: "Queues", Section: "/queues", Data: now,
		Lead: "Each queue has workers of its own in every program that works jobs. Each running job keeps one of them busy.",
	})
}

// Stuck lists what running programs say about queues without a free worker.
func (w work) Stuck() (all []string) {
	for _, program := range w.Programs {
		for _, text := range program.Stuck {
			all = append(all, fmt.Sprintf("%s (%s, process %d)", text, program.Host, program.PID))
		}
	}
	return all
}

// planQueue shows what pausing or resuming a queue does.
func (p *Pages) planQueue(c echo.Context) error {
	name, err := url.PathUnescape(c.Param("name"))
	if err != nil {
		return errNoPage
	}
	now, err := p.work.get(c.Request().Context())
	if err != nil {
		return err
	}
	i := slices.IndexFunc(now.Value.Queues, func(q workload.Queue) bool { return q.Name == name })
	if i < 0 {
		return errNoPage
	}
	return p.confirm(c, queuePlan(now.Value.Queues[i], len(now.Value.Working())))
}

// queuePlan pauses a queue, or resumes it if it is paused.
func queuePlan(q workload.Queue, programs int) confirmation {
	a := confirmation{
		Title: "Pause queue " + q.Name, Section: "/queues", Back: link{"Queues", "/queues"},
		Points: []string{
			"No program takes further jobs from this queue. Jobs that are running go on.",
			"Deliveries are still recorded, and their jobs wait. Nothing is lost.",
		},
		Facts: []fact{
			{Name: "Wait for a worker", Text: plural(q.Queued, "job", "jobs")},
			{Name: "Are running", Text: plural(q.Running, "job", "jobs")},
			{Name: "Programs that work", Text: count(programs)},
		},
		Path: "/queues/" + url.PathEscape(q.Name), Fields: []field{{"do", "pause"}}, Action: "Pause the queue", NeedsReason: true,
	}
	if q.PausedAt != nil {
		a.Title, a.Action, a.NeedsReason, a.Fields = "Resume queue "+q.Name, "Resume the queue", false, []field{{"do", "resume"}}
		a.Points = []string{"Programs take jobs from this queue again, the oldest first."}
	}
	refused := operate.CheckPause(q.Name)
	switch {
	case refused != nil && q.PausedAt == nil:
		a.Points, a.Nothing = nil, capitalized(refused.Error())+"."
	case q.LastSeen == nil:
		a.Nothing = "No program has worked this queue within a day."
	}
	return a
}

// controlQueue pauses or resumes a queue.
func (p *Pages) controlQueue(c echo.Context, by operate.Actor, reason string) error {
	name, err := url.PathUnescape(c.Param("name"))
	if err != nil {
		return errNoPage
	}
	ctx := context.WithoutCancel(c.Request().Context())
	switch c.FormValue("do") {
	case "pause":
		if reason == "" {
			return badForm("This needs a reason. Go back and give one.")
		}
		if err := p.cfg.Operator.PauseQueue(ctx, by, name, reason); err != nil {
			return err
		}
		return done(c, "Queue "+name+" is paused.", "/queues")
	case "resume":
		if err := p.cfg.Operator.ResumeQueue(ctx, by, name, reason); err != nil {
			return err
		}
		return done(c, "Queue "+name+" is resumed.", "/queues")
	}
	return badForm("A queue can be paused or resumed.")
}
