package app

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/store/retention"
)

// exactSettings choose between exact numbers and estimates. Estimates are only
// shown: nothing that a command does depends on one.
type exactSettings struct {
	Exact bool `help:"Count every row, even if that takes long. Otherwise, in a large database, numbers that take long to count are estimates, and are marked as such."`
}

// planRetention plans retention.
func (s exactSettings) planRetention(ctx context.Context, pool *pgxpool.Pool, policy retention.Policy, now time.Time) (retention.Planned, error) {
	if s.Exact {
		return retention.Plan(ctx, pool, policy, now)
	}
	return retention.QuickPlan(ctx, pool, policy, now)
}

// countText formats a number. An estimate has two significant digits, as in
// "about 1.2 million".
func countText(n int64, exact bool) string {
	if exact {
		return strconv.FormatInt(n, 10)
	}
	unit := int64(1)
	for n/unit >= 100 {
		unit *= 10
	}
	n = (n + unit/2) / unit * unit
	for _, large := range []struct {
		n    int64
		name string
	}{{1e9, "billion"}, {1e6, "million"}} {
		if n >= large.n {
			return fmt.Sprintf("about %s %s", strconv.FormatFloat(float64(n)/float64(large.n), 'f', -1, 64), large.name)
		}
	}
	return "about " + strconv.FormatInt(n, 10)
}

// noteEstimate says below a table that its numbers are estimates. A row that
// counts fewer than mayMiss may be missing from it.
func noteEstimate(w io.Writer, exact bool, row string, mayMiss int64) {
	if !exact {
		fmt.Fprintf(w, "estimated from a sample: a %s of fewer than %s may be missing; --exact counts all\n", row, runs(roundUp(mayMiss)))
	}
}

// noEstimate says in place of a table that the sample has no match. That proves
// only that there are few.
func noEstimate(w io.Writer, mayMiss int64) {
	fmt.Fprintf(w, "estimated from a sample: none matches, or fewer than %d; --exact counts all\n", roundUp(mayMiss))
}

// roundUp rounds up to two significant digits.
func roundUp(n int64) int64 {
	unit := int64(1)
	for n/unit >= 100 {
		unit *= 10
	}
	return (n + unit - 1) / unit * unit
}
