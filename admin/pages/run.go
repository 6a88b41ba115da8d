package pages

import (
	"context"
	"fmt"
	"slices"
	"time"

	"lumin-ingest/store"
)

// runData is one run of an event.
type runData struct {
	store.RunStory
	Steps    []step
	Earlier  int    // steps before the first of Steps
	Replay   string // the status to replay it with; empty if it cannot be replayed now
	Also     link   // to the plan of another action: dismiss, restore or cancel; empty if there is none now
	EventID  int64
	LastText string // the last error, if no step has it
}

// step is one moment in the life of a run.
type step struct {
	ID    string // in the page; the same while steps are added
	At    *time.Time
	State string // its tone
	Text  string
	Error string
	Trace string
	Link  link
}

// stepsShown is how many steps of a run a page shows.
const stepsShown = 30

// runsOf describes the runs of an event.
func (p *Pages) runsOf(ctx context.Context, e store.EventDetails) ([]runData, error) {
	stories, err := p.cfg.Store.RunStories(ctx, e.ID)
	runs := make([]runData, 0, len(stories))
	for _, s := range stories {
		r := runData{RunStory: s, EventID: e.ID, Steps: stepsOf(s)}
		if e.PayloadRemovedAt == nil {
			r.Replay, r.Also = replayable(s.Status), alsoOf(s, e.ID)
		}
		if s.Error != "" && !slices.ContainsFunc(r.Steps, func(step step) bool { return step.Error != "" }) {
			r.LastText = s.Error
		}
		for i := range r.Steps {
			r.Steps[i].ID = fmt.Sprintf("step-%s-%d", s.Kind, i+1)
		}
		if r.Earlier = max(0, len(r.Steps)-stepsShown); r.Earlier > 0 {
			r.Steps = r.Steps[r.Earlier:]
		}
		runs = append(runs, r)
	}
	return runs, err
}

// replayable is the status with which a replay chooses a run. It is empty for a run
// that a replay cannot choose.
func replayable(status string) string {
	switch status {
	case "failed", "retrying", "cancelled", "succeeded", "missing", "late":
		return status
	}
	return ""
}

// alsoOf is what else than a replay can be done with a run.
func alsoOf(r store.RunStory, event int64) link {
	do := map[string]string{"failed": doDismiss, "dismissed": doRestore, "retrying": doCancel}[r.Status]
	if do == "" {
		return link{}
	}
	status := r.Status
	if do == doRestore {
		status = "" // it chooses dismissed runs only
	}
	return link{capitalized(do) + "…", path("/plan", "do", do, "status", status, "kind", r.Kind, "event", event, "back", eventPath(event))}
}
