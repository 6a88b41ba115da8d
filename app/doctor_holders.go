package app

import (
	"cmp"
	"fmt"
	"time"

	"lumin-ingest/store/doctor"
)

// longHolders is longer than most jobs take. Longer jobs are reported too: the
// database does not know whether the program behind a session still runs.
const longHolders = time.Minute

// examineHolders reports sessions that have locked runs or events for a long
// time. Meanwhile, no other session can work those runs or record redeliveries
// of those events. Sessions of other roles may be hidden.
func examineHolders(holders []doctor.Holder, hidden int) []finding {
	findings := make([]finding, 0, len(holders)+1)
	if hidden > 0 {
		findings = append(findings, finding{"locks", ok,
			fmt.Sprintf("%d sessions of other roles are hidden from this role, and were not checked; to check them, grant it pg_read_all_stats", hidden), ""})
	}
	for _, h := range holders {
		client := "a local socket"
		if h.Client != nil {
			client = *h.Client
		}
		findings = append(findings, finding{
			"locks", warning,
			fmt.Sprintf("session %d (%s, role %s, from %s) has had runs or events locked since %s; its state: %s",
				h.PID, cmp.Or(h.Application, "no application name"), h.Role, client, h.Since.UTC().Format(time.RFC3339), cmp.Or(h.State, "unknown")),
			fmt.Sprintf("unless a long job is running in it, end it: SELECT pg_terminate_backend(%d)", h.PID),
		})
	}
	return findings
}
