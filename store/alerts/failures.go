package alerts

import (
	"context"
	"fmt"
	"strings"

	"lumin-ingest/internal/redact"
	"lumin-ingest/store/failures"
)

// failures finds the groups of failed runs: one for each job type and error.
func (x *Examiner) failures(ctx context.Context) (f Finding, err error) {
	groups, err := failures.Failed().Quickly(ctx, x.pool, nil, nil, maxFailureGroups)
	if err != nil {
		return f, err
	}
	for _, g := range groups.Groups {
		f.Alerts = append(f.Alerts, Alert{
			Key: Failure + "/" + g.Kind + "/" + g.Fingerprint,
			Text: fmt.Sprintf("%s failed for good (%s, error %s): %s. Fix the cause and replay.",
				g.Kind, runs(g), g.Fingerprint, sampleOf(g.Error)),
			Page: "/failures",
		})
	}
	f.Reason = "no run has failed for good"
	f.Partly = !groups.Exact || len(groups.Groups) == maxFailureGroups
	return f, nil
}

func runs(g failures.Group) string {
	about := ""
	if !g.Exact {
		about = "about "
	}
	if g.Runs == 1 {
		return fmt.Sprintf("event %d", g.EventID)
	}
	return fmt.Sprintf("%s%d runs, the newest of event %d", about, g.Runs, g.EventID)
}

// maxSample is the length of an error in an alert, in bytes.
const maxSample = 200

// sampleOf returns an error as one short line. Stored errors are cleaned already;
// those of other programs may not be.
func sampleOf(err string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(redact.Text(err)), "\n")
	if len(line) > maxSample {
		line = strings.ToValidUTF8(line[:maxSample], "") + " [...]"
	}
	if line == "" {
		return "no error is known"
	}
	return strings.TrimSuffix(line, ".")
}
