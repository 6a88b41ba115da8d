package pages

import (
	"fmt"
	"slices"
	"time"

	"lumin-ingest/store/alerts"
)

const (
	// alertsShown is how many open alerts the verdict names.
	alertsShown = 10

	// forgottenAlert is how long ago an alert was last found if nothing finds it any
	// more. Those that hold are found every minute.
	forgottenAlert = 5 * time.Minute
)

// judged are the conditions that the verdict finds out without alerts, from newer
// facts.
func judged() []string {
	return []string{alerts.Failure, alerts.Backlog, alerts.Lane, alerts.Workers, alerts.Mismatch}
}

// alertFindings names the open alerts about everything else.
func alertFindings(f facts) (found []finding) {
	for _, a := range f.Alerts {
		if slices.Contains(judged(), a.Condition()) || f.Now.Sub(a.SeenAt) > forgottenAlert {
			continue
		}
		if len(found) == alertsShown {
			return append(found, finding{"warn", "There are further alerts: \"alerts list\" shows all.", link{"Show the programs", "/programs"}})
		}
		page := localPath(a.Page)
		if page == "/" {
			page = "/programs"
		}
		found = append(found, finding{"warn", capitalized(a.Text), link{"Show details", page}})
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
