package pages

import (
	"context"
	"slices"

	"github.com/labstack/echo/v4"

	"lumin-ingest/store/failures"
)

// groupsShown is how many groups the page lists.
const groupsShown = 50

// failuresData is what failures.html shows.
type failuresData struct {
	State     string // failed, retrying or dismissed
	Kind      string // the filter; empty: all job types
	Kinds     []string
	Groups    failures.Groups
	FollowUps []failures.FollowUp
	More      bool   // there are more groups
	MoreJobs  bool   // there are more follow-up jobs
	Back      string // this page, to return to after an action
}

// failures groups failed, retrying or dismissed runs by job type and error.
func (p *Pages) failures(c echo.Context) error {
	ctx := c.Request().Context()
	data := failuresData{State: c.QueryParam("state"), Kind: c.QueryParam("kind")}
	if data.State == "" {
		data.State = "failed"
	}
	lists := map[string]func() failures.List{"failed": failures.Failed, "retrying": failures.Retrying, "dismissed": failures.Dismissed}
	list := lists[data.State]
	if list == nil {
		return badRequest("The state is failed, retrying or dismissed.")
	}
	var kinds []string
	if data.Kind != "" {
		kinds = []string{data.Kind}
	}
	var err error
	if data.Groups, err = list().Quickly(ctx, p.cfg.Store.Pool(), kinds, nil, groupsShown+1); err != nil {
		return err
	}
	if len(data.Groups.Groups) > groupsShown {
		data.Groups.Groups, data.More = data.Groups.Groups[:groupsShown], true
	}
	if data.State == "failed" {
		if data.FollowUps, err = failures.FollowUps(ctx, p.cfg.Store.Pool(), kinds, groupsShown+1); err != nil {
			return err
		}
		if len(data.FollowUps) > groupsShown {
			data.FollowUps, data.MoreJobs = data.FollowUps[:groupsShown], true
		}
	}
	data.Back = path("/failures", "state", data.State, "kind", data.Kind)
	if data.Kinds, err = p.kinds(ctx, data.Kind); err != nil {
		return err
	}
	return p.show(c, "failures", view{Title: "Failures", Section: "/failures", Data: data, Lead: leads(data.State)})
}

// leads explains a state.
func leads(state string) string {
	switch state {
	case "retrying":
		return "These runs have failed and have attempts left. They are repeated automatically."
	case "dismissed":
		return "These runs failed, and someone decided that they need no effect."
	}
	return "These runs have used up their attempts. Fix the cause, then replay them: the filter of each group is kept until you change it."
}

// kinds lists the job types, and one that may be unknown.
func (p *Pages) kinds(ctx context.Context, also string) (kinds []string, err error) {
	now, err := p.work.get(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range now.Value.JobTypes {
		kinds = append(kinds, t.Kind)
	}
	if also != "" && !slices.Contains(kinds, also) {
		kinds = append(kinds, also)
	}
	return kinds, nil
}
