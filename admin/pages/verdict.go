package pages

import (
	"fmt"
	"net/url"
	"time"

	"lumin-ingest/store/alerts"
	"lumin-ingest/store/conflict"
	"lumin-ingest/store/lanes"
	"lumin-ingest/store/operate"
	"lumin-ingest/store/workload"
)

// verdict says whether all is well, and if not, what to do first.
type verdict struct {
	Tone  string // ok, warn or bad
	First finding
	Also  []finding
}

// finding is one thing that needs attention.
type finding struct {
	Tone string // warn or bad
	Text string
	Do   link
}

// facts are what the verdict depends on.
type facts struct {
	work
	waiting
	Held      []lanes.Held
	LastEvent *time.Time
	Alerts    []alerts.Open // the newest first
	Sending   alerts.Sending
	Lately    lately
	Warnings  []string
	Sources   []SourceLine
	Now       time.Time
}

const (
	// longPending is how long a run may wait before the verdict names it. It is
	// far more than the automatic recovery from a killed program takes.
	longPending = 10 * time.Minute

	// manyMismatches is how many deliveries in a row, none of them verified, may
	// mean a rotated key. A few are strangers.
	manyMismatches = 10
)

// judge returns the verdict. What stops the most work comes first.
func judge(f facts) verdict {
	var all []finding
	for _, look := range []func(facts) []finding{programFindings, warningFindings, sourceFindings, deliveryFindings, laneFindings, failureFindings, queueFindings, pendingFindings, conflictFindings, lateFindings, alertFindings, sendingFindings} {
		all = append(all, look(f)...)
	}
	if len(all) == 0 {
		return verdict{Tone: "ok", First: finding{Tone: "ok", Text: wellText(f)}}
	}
	v := verdict{Tone: "warn"}
	// The first serious finding leads; the order is kept otherwise.
	lead := 0
	for i := range all {
		if all[i].Tone == "bad" {
			lead, v.Tone = i, "bad"
			break
		}
	}
	v.First = all[lead]
	v.Also = append(append(v.Also, all[:lead]...), all[lead+1:]...)
	return v
}

// wellText is the sentence of a system without findings.
func wellText(f facts) string {
	switch {
	case f.LastEvent == nil:
		return "All is well. No event has arrived yet: send a test delivery, or wait for the first one."
	case f.retrying() > 0:
		return "All is well. " + plural(f.retrying(), "run is", "runs are") + " retried automatically."
	}
	return "All is well. Every run has succeeded or is about to start."
}

func programFindings(f facts) (found []finding) {
	receives := false
	for _, program := range f.Programs {
		receives = receives || program.Receives()
	}
	if !receives {
		found = append(found, finding{"bad", "No running program receives deliveries. Start one: Lumin repeats deliveries for about a day.", link{"Show the programs", "/programs"}})
	}
	if len(f.Working()) == 0 && len(f.JobTypes) > 0 {
		found = append(found, finding{"bad", "No running program works jobs. Deliveries are recorded, and their runs wait: start a program that works.", link{"Show the queues", "/queues"}})
	}
	for _, text := range f.Stuck() {
		found = append(found, finding{"bad", "A queue has no free worker: " + text + ".", link{"Show the queues", "/queues"}})
	}
	return found
}

func warningFindings(f facts) (found []finding) {
	for _, text := range f.Warnings {
		found = append(found, finding{"warn", capitalized(text) + ".", link{"Show the readiness checks", "/readyz"}})
	}
	return found
}

// sourceFindings names the sources whose key may have been rotated: Lumin gives up
// their deliveries after about a day, so they come before failed runs.
func sourceFindings(f facts) (found []finding) {
	for _, s := range f.Sources {
		if s.MismatchesSince >= manyMismatches {
			found = append(found, finding{"bad",
				fmt.Sprintf("Source %s refused its last %s: no key explains their signatures. Its key may have been rotated.", s.Source, plural(s.MismatchesSince, "delivery", "deliveries")),
				link{"Compare the keys", "/sources"}})
		}
	}
	return append(found, f.alertsOf("bad", func(condition string) bool { return condition == alerts.Mismatch })...)
}

func laneFindings(f facts) (found []finding) {
	for _, held := range f.Held {
		if held.Lanes > 0 {
			text := fmt.Sprintf("%s of %s held by a failed run, the longest for %s. Later events of these signature requests wait.",
				plural(held.Lanes, "lane", "lanes"), held.Kind+map[bool]string{true: " is", false: " are"}[held.Lanes == 1], span(time.Duration(held.Age*float64(time.Second))))
			if held.More {
				text = "At least " + text
			}
			found = append(found, finding{"bad", text, link{"Replay or skip them", path("/lanes", "kind", held.Kind, "held", "1")}})
		}
	}
	return found
}

func failureFindings(f facts) []finding {
	failed := f.failed()
	if failed == 0 {
		return nil
	}
	text := plural(failed, "run has", "runs have") + " failed for good."
	if len(f.Failed.Groups) > 0 {
		g := f.Failed.Groups[0]
		switch { // a group may be an estimate, or newer than the number of failed runs
		case g.Runs == failed && failed == 1:
			text = fmt.Sprintf("1 run has failed for good, of %s: %s", g.Kind, clip(160, g.Error))
		case g.Runs == failed:
			text = fmt.Sprintf("%s failed for good, all of %s with one error: %s", plural(failed, "run has", "runs have"), g.Kind, clip(160, g.Error))
		default:
			text = fmt.Sprintf("%s failed for good. The largest group, %s, is of %s: %s", plural(failed, "run has", "runs have"), about(min(g.Runs, failed), g.Exact), g.Kind, clip(160, g.Error))
		}
	}
	return []finding{{"bad", text, link{"Fix the cause, then replay them", "/failures"}}}
}

func queueFindings(f facts) (found []finding) {
	for _, q := range f.Queues {
		if q.PausedAt != nil {
			tone, text := "warn", fmt.Sprintf("Queue %s is paused, for %s. %s in it.", q.Name, span(f.Now.Sub(*q.PausedAt)), plural(q.Queued, "job waits", "jobs wait"))
			if work := operate.InternalWork(q.Name); work != "" {
				tone, text = "bad", text+" Until it is resumed, "+work+" do not run."
			}
			found = append(found, finding{tone, text, link{"Resume it", "/queues/" + url.PathEscape(q.Name)}})
		}
	}
	return found
}

func pendingFindings(f facts) (found []finding) {
	for _, t := range f.JobTypes {
		if one := pendingFinding(f, t); one != nil {
			found = append(found, *one)
		}
	}
	return found
}

// pendingFinding is about the pending runs of one job type. It is nil if none of them
// waits for too long.
func pendingFinding(f facts, t workload.JobType) *finding {
	switch {
	case t.Pending() > 0 && t.Programs == 0 && len(f.Working()) > 0:
		return &finding{"bad", fmt.Sprintf("%s of %s, which no running program has registered.", plural(t.Pending(), "run waits", "runs wait"), t.Kind), link{"Show the job types", "/job-types"}}
	case t.Oldest != nil && f.Now.Sub(*t.Oldest) > longPending && t.Queued > 0:
		return &finding{"warn", fmt.Sprintf("%s of %s queued; the oldest pending run has waited for %s.", plural(t.Queued, "run", "runs"), t.Kind+isAre(t), span(f.Now.Sub(*t.Oldest))), link{"Show the queues", "/queues"}}
	}
	return nil
}

func isAre(t workload.JobType) string {
	if t.Queued == 1 {
		return " is"
	}
	return " are"
}

func conflictFindings(f facts) []finding {
	all, two := f.Conflicts.All, f.Conflicts.TwoSigners
	text := plural(all, "conflict waits", "conflicts wait") + " for a decision."
	switch {
	case all == 0:
		return nil
	case two == all:
		text = plural(all, "conflict between two signers waits", "conflicts between two signers wait") + " for a decision."
	case two > 0:
		text = plural(all, "conflict waits", "conflicts wait") + " for a decision, " + count(two) + " of them between two signers."
	}
	if all >= conflict.UndecidedCounted {
		text = "At least " + text
	}
	return []finding{{"warn", text, link{"Decide", "/conflicts"}}}
}

func lateFindings(f facts) []finding {
	if f.Late.Events == 0 {
		return nil
	}
	text := plural(f.Late.Events, "late event waits", "late events wait") + " for a decision: no job type has run."
	if f.Late.More {
		text = "At least " + text
	}
	return []finding{{"warn", text, link{"Replay or dismiss", path("/events", "state", lateState)}}}
}
