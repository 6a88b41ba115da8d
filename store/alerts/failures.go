package alerts

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"lumin-ingest/internal/redact"
	"lumin-ingest/store/failures"
)

// failures finds the groups of failed runs: one for each job type and error. A list
// that is estimated or cut may miss groups, so those with an open alert are looked up.
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
	if f.Partly = !groups.Exact || len(groups.Groups) == maxFailureGroups; f.Partly {
		err = x.missedFailures(ctx, &f)
	}
	return f, err
}

// missedFailures adds what is known about open alerts whose groups are not in a
// finding: each goes on, or is over.
func (x *Examiner) missedFailures(ctx context.Context, f *Finding) error {
	missed, err := x.openOf(ctx, Failure)
	if err != nil {
		return err
	}
	for _, a := range f.Alerts {
		delete(missed, a.Key)
	}
	var groups []failures.GroupID
	for key := range missed {
		kind, fingerprint, _ := strings.Cut(strings.TrimPrefix(key, Failure+"/"), "/")
		groups = append(groups, failures.GroupID{Kind: kind, Fingerprint: fingerprint})
	}
	failed, err := failures.StillFailed(ctx, x.pool, groups)
	if err != nil {
		return err
	}
	for _, g := range failed {
		key := Failure + "/" + g.Kind + "/" + g.Fingerprint
		f.Alerts = append(f.Alerts, missed[key].Alert)
		delete(missed, key)
	}
	f.Over = slices.Sorted(maps.Keys(missed))
	return nil
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
