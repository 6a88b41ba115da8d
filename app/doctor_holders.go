package app

import (
	"cmp"
	"fmt"
	"time"

	"lumin-ingest/store"
)

// holdsLong is longer than most jobs take. Longer jobs are shown as well: the
// database cannot know whether a session belongs to a program that is gone.
const holdsLong = time.Minute

// examineHolders names the sessions that keep runs from being worked, or events
// from being recorded again.
func examineHolders(holders []store.Holder) []finding {
	findings := make([]finding, 0, len(holders))
	for _, h := range holders {
		client := "a local socket"
		if h.Client != nil {
			client = *h.Client
		}
		findings = append(findings, finding{
			"locks", warning,
			fmt.Sprintf("session %d (%s, role %s, from %s) has held runs or events since %s; it is %s",
				h.PID, cmp.Or(h.Application, "without a name"), h.Role, client, h.Since.UTC().Format(time.RFC3339), cmp.Or(h.State, "in an unknown state")),
			fmt.Sprintf("if it is not a job at work: SELECT pg_terminate_backend(%d)", h.PID),
		})
	}
	return findings
}
