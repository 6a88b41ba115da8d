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
		r := runData{RunStory: s, EventID: e.ID, Replay: replayable(s.Status), Steps: stepsOf(s)}
		if e.PayloadRemovedAt != nil {
			r.Replay = ""
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

// stepsOf returns the moments of a run in order.
func stepsOf(r store.RunStory) (all []step) {
	if r.CreatedAt != nil {
		all = append(all, step{At: r.CreatedAt, State: "queued", Text: "Queued"})
	}
	live := r.JobKept
	for _, f := range slices.Backward(r.Failures) {
		all = append(all, tries(f.Tries)...)
		all = append(all, step{At: &f.FailedAt, State: f.State, Text: fmt.Sprintf("%s after %s", capitalized(f.State), plural(f.Attempts, "attempt", "attempts"))})
		if f.JobID != nil && r.JobID != nil && *f.JobID == *r.JobID {
			live = false // the attempts of this job are in the list already
		}
	}
	if r.ReplayID > 0 {
		text := fmt.Sprintf("Replay %d", r.ReplayID)
		all = append(all, step{At: r.PendingSince, State: "ordered", Text: "Queued again by", Link: link{text, fmt.Sprintf("/replays/%d", r.ReplayID)}})
	}
	if live {
		all = append(all, tries(r.Tries)...)
	}
	slices.SortStableFunc(all, func(a, b step) int { return a.At.Compare(*b.At) })
	if last, ok := lastStep(r); ok {
		all = append(all, last)
	}
	return all
}

func tries(failed []store.Try) (all []step) {
	for _, t := range failed {
		all = append(all, step{At: &t.At, State: "failed", Text: fmt.Sprintf("Attempt %d failed", t.Attempt), Error: t.Error, Trace: t.Trace})
	}
	return all
}

// lastStep is what the run is doing now, or how it ended.
func lastStep(r store.RunStory) (step, bool) {
	switch r.Status {
	case "succeeded":
		return step{At: r.FinishedAt, State: "succeeded", Text: "Succeeded in attempt " + count(max(r.Attempts, 1))}, true
	case "running":
		return step{At: r.StartedAt, State: "running", Text: fmt.Sprintf("Attempt %d is running", max(r.Attempts, 1))}, true
	case "retrying":
		return step{At: r.NextAttempt, State: "retrying", Text: fmt.Sprintf("Attempt %d follows", r.Attempts+1)}, r.NextAttempt != nil
	case "queued":
		return step{At: r.NextAttempt, State: "queued", Text: "Waits for a worker"}, r.NextAttempt != nil
	case "parked":
		return step{At: r.PendingSince, State: "parked", Text: "Waits for an earlier event of the signature request"}, true
	case "dismissed":
		if r.DismissedAt != nil {
			return step{At: r.DismissedAt, State: "dismissed", Text: "Dismissed by " + *r.DismissedBy + ": " + *r.DismissReason}, true
		}
	case "missing":
		return step{State: "missing", Text: "The job type subscribes to this event, but the event is older than the job type or was stored without it"}, true
	case "late":
		return step{State: "late", Text: "The event was too old when it arrived, so no run was created. Replay it to run the job type"}, true
	}
	return step{}, false
}
