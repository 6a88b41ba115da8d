package pages

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"lumin-ingest/store/failures"
	"lumin-ingest/store/operate"
)

// followUpsCounted bounds the jobs that the plan of a retry counts.
const followUpsCounted = 1000

// followUps chooses failed follow-up jobs: one by its id, those of a kind, or all. The
// address of the plan and its form hold them: /follow-ups/retry?kind=send_copy. All are
// chosen with all=1 only, so that a form that has lost its filter does nothing.
type followUps struct {
	Job  int64      // 0: not one
	Kind string     // empty: not those of a kind
	AsOf *time.Time // when the jobs of a plan were counted; nil: now
}

func parseFollowUps(v url.Values) (f followUps, err error) {
	f.Kind = v.Get("kind")
	if f.AsOf, err = timeField(v.Get("as_of")); err != nil {
		return f, err
	}
	text := v.Get("job")
	if text != "" {
		if f.Job, err = strconv.ParseInt(text, 10, 64); err != nil || f.Job < 1 {
			return f, badRequest("A job's id is a number.")
		}
	}
	if chosen := len(given([]string{text, f.Kind, v.Get("all")})); chosen != 1 {
		return f, badRequest("Choose one job, a kind, or all jobs.")
	}
	return f, nil
}

// filter is the filter as the store takes it.
func (f followUps) filter() failures.FollowUpFilter {
	filter := failures.FollowUpFilter{AsOf: f.AsOf}
	if f.Kind != "" {
		filter.Kinds = []string{f.Kind}
	}
	if f.Job != 0 {
		filter.JobIDs = []int64{f.Job}
	}
	return filter
}

// fields are those of the form of a plan.
func (f followUps) fields() []field {
	chosen := field{"all", "1"}
	switch {
	case f.Job != 0:
		chosen = field{"job", strconv.FormatInt(f.Job, 10)}
	case f.Kind != "":
		chosen = field{"kind", f.Kind}
	}
	return []field{chosen, {"as_of", f.AsOf.UTC().Format(time.RFC3339Nano)}}
}

// list lists what would be retried, up to one more than followUpsCounted.
func (f followUps) list(ctx context.Context, p *Pages) ([]failures.FollowUp, error) {
	if f.Job == 0 {
		return failures.FollowUps(ctx, p.cfg.Store.Pool(), f.filter().Kinds, followUpsCounted+1)
	}
	one, found, err := failures.FindFollowUp(ctx, p.cfg.Store.Pool(), f.Job)
	if err != nil || !found {
		return nil, err
	}
	return []failures.FollowUp{one}, nil
}

// planRetry shows what a retry of failed follow-up jobs would do.
func (p *Pages) planRetry(c echo.Context) error {
	f, err := parseFollowUps(url.Values{"job": {clean(c, "job")}, "kind": {clean(c, "kind")}, "all": {clean(c, "all")}})
	if err != nil {
		return err
	}
	now, err := p.cfg.Store.Now(c.Request().Context())
	if err != nil {
		return err
	}
	f.AsOf = &now
	jobs, err := f.list(c.Request().Context(), p)
	if err != nil {
		return err
	}
	number := plural(int64(len(jobs)), "job", "jobs")
	if len(jobs) > followUpsCounted {
		number = fmt.Sprintf("more than %s jobs", count(followUpsCounted))
	}
	a := confirmation{
		Title: "Retry failed follow-up jobs", Section: "/failures", Back: link{"Failures", "/failures"},
		Points: []string{
			"Failed jobs return to the queue, with all their attempts. Effects outside the database that they had before they failed may be repeated.",
			"A unique job stays failed while an equal one is in the queue.",
		},
		Path: "/follow-ups/retry", Fields: f.fields(), Action: "Retry " + number,
	}
	switch {
	case len(jobs) == 0:
		a.Nothing = "No such follow-up job has failed. Someone may have retried it, or River has removed it."
	case f.Job != 0:
		a.Title, a.Facts = "Retry follow-up job "+strconv.FormatInt(f.Job, 10), followUpFacts(jobs[0])
	case f.Kind != "":
		a.Title += " of " + clip(80, f.Kind)
		fallthrough
	default:
		a.Facts = append([]fact{{Name: "Failed jobs", Text: number}}, followUpFacts(jobs[0])...)
		a.Points = append(a.Points, "The newest of them is below.")
	}
	return p.confirm(c, a)
}

func followUpFacts(f failures.FollowUp) []fact {
	return []fact{
		{Name: "Kind", Text: f.Kind}, {Name: "Queue", Text: f.Queue}, {Name: "Attempts", Text: count(f.Attempts)},
		{Name: "Failed", Text: f.FailedAt.UTC().Format("2006-01-02 15:04:05")}, {Name: "Error", Text: f.Error, Error: true},
	}
}

// retryFollowUps returns failed follow-up jobs to the queue.
func (p *Pages) retryFollowUps(c echo.Context, by operate.Actor, reason string) error {
	f, err := parseFollowUps(c.Request().PostForm)
	if err != nil {
		return err
	}
	ctx, cancel := actionContext(c)
	defer cancel()
	n, err := p.cfg.Operator.RetryFollowUps(ctx, by, f.filter(), reason)
	if err != nil {
		return err
	}
	return done(c, plural(n, "job", "jobs")+" returned to the queue.", "/failures")
}
