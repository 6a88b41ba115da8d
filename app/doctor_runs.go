package app

import (
	"context"
	"fmt"
	"strings"
	"time"

	"lumin-ingest/store"
	"lumin-ingest/store/failures"
)

// longRetrying is how long a run may be retried before doctor reports it.
const longRetrying = time.Hour

// examineRuns reports failed runs and runs that have been retried for a long
// time.
func examineRuns(ctx context.Context, st *store.Store) ([]finding, error) {
	kinds, err := failures.CountTroubled(ctx, st.Pool(), longRetrying)
	if err != nil {
		return nil, err
	}
	return checkRuns(kinds), nil
}

func checkRuns(kinds []failures.Troubled) []finding {
	var failed, retrying []string
	for _, k := range kinds {
		if k.Failed > 0 {
			failed = append(failed, fmt.Sprintf("%s %d", k.Kind, k.Failed))
		}
		if k.Retrying > 0 {
			retrying = append(retrying, fmt.Sprintf("%s %d", k.Kind, k.Retrying))
		}
	}
	var findings []finding
	if len(failed) > 0 {
		findings = append(findings, finding{"runs", warning, "failed, with no attempts left: " + strings.Join(failed, ", "),
			"see \"" + invocation() + " failures\"; fix the cause and replay them, or dismiss them"})
	}
	if len(retrying) > 0 {
		findings = append(findings, finding{"runs", warning, "retrying for more than an hour: " + strings.Join(retrying, ", "),
			"see \"" + invocation() + " failures\" for their errors and next attempts"})
	}
	if len(findings) == 0 {
		findings = append(findings, finding{"runs", ok, "none failed, and none is retrying for more than an hour", ""})
	}
	return findings
}
