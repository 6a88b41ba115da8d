package pages

import (
	"fmt"
	"slices"
	"time"

	"lumin-ingest/store"
)

// story collects the moments of a run, in the order in which they happened. The data
// has each final failure, but of the times at which the run became pending again only
// the last.
type story struct {
	store.RunStory
	steps []step
	tried map[attemptOfJob]bool // attempts in steps: each final failure repeats those of its job
	last  store.FinalFailure    // in steps; zero before the first
	start *step                 // of a replay: it comes before the first attempt after it
}

type attemptOfJob struct{ job, attempt, at int64 }

// stepsOf returns the moments of a run in order.
func stepsOf(r store.RunStory) []step {
	s := story{RunStory: r, tried: map[attemptOfJob]bool{}}
	if r.CreatedAt != nil {
		s.add(step{At: r.CreatedAt, State: "queued", Text: "Queued"})
	}
	for _, f := range slices.Backward(r.Failures) {
		s.addStart(f.ReplayID, f.JobID, f.FailedAt)
		s.addTries(f.JobID, f.Tries)
		ended := step{At: &f.FailedAt, State: f.State, Text: fmt.Sprintf("%s after %s", capitalized(f.State), plural(f.Attempts, "attempt", "attempts"))}
		if f.ReplayID > 0 {
			ended.Text, ended.Link = ended.Text+" in", replayLink(f.ReplayID)
		}
		s.add(ended)
		s.last = f
	}
	s.addStart(r.ReplayID, r.JobID, time.Time{})
	s.addTries(r.JobID, r.Tries)
	if s.restored() {
		s.add(step{At: r.FinishedAt, State: r.Status, Text: "Restored, because the replay was cancelled"})
	}
	if last, ok := s.lastStep(); ok {
		s.add(last)
	}
	return s.steps
}

func (s *story) add(one step) { s.steps = append(s.steps, one) }

// addStart adds why the run became pending after the last failure. The next failure,
// or the run as it is now, has this replay and this job. A failure has a time.
func (s *story) addStart(replay int64, job *int64, failed time.Time) {
	since := s.PendingSince
	here := since != nil && since.After(s.last.FailedAt) && (failed.IsZero() || since.Before(failed))
	// Only River makes a job that has ended live again.
	retried := job != nil && s.last.JobID != nil && *job == *s.last.JobID && (here || !failed.IsZero())
	if retried {
		again := step{State: "ordered", Text: "The job was retried in River"}
		if here {
			again.At = since
		}
		s.add(again)
	}
	if replay == 0 || replay == s.last.ReplayID {
		return
	}
	again := step{State: "ordered", Text: "Queued again by", Link: replayLink(replay)}
	order, known := s.replay(replay)
	switch {
	// A replay of a retrying run does not change since when the run is pending.
	case here && !retried && (!known || order.StartedAt == nil || !since.Before(*order.StartedAt)):
		again.At = since
	case known && order.StartedAt != nil:
		again.At, again.Text = order.StartedAt, "Start of"
		s.start = &again
		return
	}
	s.add(again)
}

// addReplay adds the start of a replay if that was before a time; nil: in any case.
func (s *story) addReplay(before *time.Time) {
	if s.start != nil && (before == nil || s.start.At.Before(*before)) {
		s.add(*s.start)
		s.start = nil
	}
}

func (s *story) replay(id int64) (store.StoryReplay, bool) {
	i := slices.IndexFunc(s.Replays, func(r store.StoryReplay) bool { return r.ID == id })
	if i < 0 {
		return store.StoryReplay{}, false
	}
	return s.Replays[i], true
}

func replayLink(id int64) link {
	return link{fmt.Sprintf("Replay %d", id), fmt.Sprintf("/replays/%d", id)}
}

// addTries adds those failed attempts of a job that are not in the steps.
func (s *story) addTries(job *int64, failed []store.Try) {
	for _, t := range failed {
		a := attemptOfJob{attempt: int64(t.Attempt), at: t.At.UnixNano()}
		if job != nil {
			a.job = *job
		}
		if s.tried[a] {
			continue
		}
		s.tried[a] = true
		s.addReplay(&t.At)
		s.add(step{At: &t.At, State: "failed", Text: fmt.Sprintf("Attempt %d failed", t.Attempt), Error: t.Error, Trace: t.Trace})
	}
	s.addReplay(nil)
}

// restored reports whether a cancel of its replay has given the run its former state
// back. Such a run has the number of the replay, but no job.
func (s *story) restored() bool {
	order, _ := s.replay(s.ReplayID)
	return order.State == "cancelled" && s.JobID == nil && s.FinishedAt != nil
}

// lastStep is what the run is doing now, or how it ended.
func (s *story) lastStep() (step, bool) {
	switch s.Status {
	case "succeeded":
		return step{At: s.FinishedAt, State: "succeeded", Text: "Succeeded in attempt " + count(max(s.Attempts, 1))}, !s.restored()
	case "cancelled":
		return s.cancellation()
	case "running":
		return step{At: s.StartedAt, State: "running", Text: fmt.Sprintf("Attempt %d is running", max(s.Attempts, 1))}, true
	case "retrying":
		return step{At: s.NextAttempt, State: "retrying", Text: fmt.Sprintf("Attempt %d follows", s.Attempts+1)}, s.NextAttempt != nil
	case "queued":
		return step{At: s.NextAttempt, State: "queued", Text: "Waits for a worker"}, s.NextAttempt != nil
	case "parked":
		return step{At: s.PendingSince, State: "parked", Text: "Waits for an earlier event of the signature request"}, true
	case "dismissed":
		if s.DismissedAt != nil {
			return step{At: s.DismissedAt, State: "dismissed", Text: "Dismissed by " + *s.DismissedBy + ": " + *s.DismissReason}, true
		}
	case "missing":
		return step{State: "missing", Text: "The job type subscribes to this event, but the event is older than the job type or was stored without it"}, true
	case "late":
		return step{State: "late", Text: "The event was too old when it arrived, so no run was created. Replay it to run the job type"}, true
	}
	return step{}, false
}

// cancellation is the end of a run that an erasure has cancelled: it has no row of a
// final failure. A run that had failed keeps the time of its failure.
func (s *story) cancellation() (step, bool) {
	pendingSince := s.PendingSince != nil && s.PendingSince.After(s.last.FailedAt)
	if s.restored() || (s.last.State == "cancelled" && !pendingSince) {
		return step{}, false
	}
	end := step{State: "cancelled", Text: "Cancelled"}
	if s.FinishedAt != nil && s.FinishedAt.After(s.last.FailedAt) {
		end.At = s.FinishedAt
	}
	return end, true
}
