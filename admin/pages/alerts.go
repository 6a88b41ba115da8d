package pages

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"lumin-ingest/store/alerts"
	"lumin-ingest/store/workload"
)

const (
	// alertsShown is how many open alerts the verdict names.
	alertsShown = 10

	// forgottenAlert is how long ago an alert was last found if nothing finds it any
	// more. Those that hold are found every minute.
	forgottenAlert = 5 * time.Minute
)

// judges reports whether other findings answer an alert from newer facts: they name
// its condition, or it has ended.
func (f facts) judges(a alerts.Open) bool {
	_, about, _ := strings.Cut(a.Key, "/")
	switch a.Condition() {
	case alerts.Failure, alerts.Lane, alerts.Workers:
		return true
	case alerts.Mismatch: // Sources has only what this program receives
		return slices.ContainsFunc(f.Sources, func(s SourceLine) bool { return s.Source == about && s.MismatchesSince >= manyMismatches })
	case alerts.Backlog: // of any jobs, also of those without runs
		waits := slices.ContainsFunc(f.Queues, func(q workload.Queue) bool { return q.Name == about && q.Oldest != nil && q.PausedAt == nil })
		named := slices.ContainsFunc(f.JobTypes, func(t workload.JobType) bool { return t.Queue == about && pendingFinding(f, t) != nil })
		return !waits || named
	}
	return false
}

// alertFindings names the open alerts that no other finding answers.
func alertFindings(f facts) []finding {
	return f.alertsOf("warn", func(condition string) bool { return condition != alerts.Mismatch })
}

// alertsOf names the open alerts of these conditions that no other finding answers.
func (f facts) alertsOf(tone string, wanted func(condition string) bool) (found []finding) {
	for _, a := range f.Alerts {
		if !wanted(a.Condition()) || f.judges(a) || f.Now.Sub(a.SeenAt) > forgottenAlert {
			continue
		}
		if len(found) == alertsShown {
			return append(found, finding{"warn", "There are further alerts: \"alerts list\" shows all.", link{"Show the programs", "/programs"}})
		}
		page := localPath(a.Page)
		if page == "/" {
			page = "/programs"
		}
		found = append(found, finding{tone, capitalized(a.Text), link{"Show details", page}})
	}
	return found
}

// sendingFindings says when alerts do not reach anyone, although they should.
func sendingFindings(f facts) []finding {
	if f.Sending.Failures == 0 {
		return nil
	}
	return []finding{{"warn", fmt.Sprintf("Alerts do not arrive: the webhook has not accepted the last %s.", plural(f.Sending.Failures, "message", "messages")), link{"Show the programs", "/programs"}}}
}
