package alerts

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// conditionTimeout bounds the examination of one condition. It is far more than
// any takes on a server that is not overloaded.
const conditionTimeout = 5 * time.Second

// Examiner examines the conditions. It remembers what it has learned about quiet
// stretches for an hour. It is safe for concurrent use.
type Examiner struct {
	pool   *pgxpool.Pool
	limits Limits

	mu     sync.Mutex
	habits map[string]habit // by source
}

// New returns an Examiner.
func New(pool *pgxpool.Pool, limits Limits) *Examiner {
	limits.Backlog = cmp.Or(limits.Backlog, defaultBacklog)
	return &Examiner{pool: pool, limits: limits, habits: map[string]habit{}}
}

// Finding is the result of examining one condition.
type Finding struct {
	Condition string  `json:"condition"`
	Alerts    []Alert `json:"alerts"` // that hold
	Reason    string  `json:"reason"` // why no alert holds, as far as there is something to say

	// Partly is true if other alerts of the condition may hold, too.
	Partly bool `json:"partly"`

	// Over are keys of open alerts that are known to hold no longer, whether or not
	// Partly is true.
	Over []string `json:"-"`

	// Dropped are keys of open alerts that are no longer examined. Nothing is sent
	// about their end.
	Dropped []string `json:"-"`

	// Err is why the condition could not be examined.
	Err error `json:"-"`
}

// Examine examines all conditions, one after another.
func (x *Examiner) Examine(ctx context.Context) []Finding {
	conditions := []struct {
		name    string
		examine func(context.Context) (Finding, error)
	}{
		{Failure, x.failures},
		{Backlog, x.backlog},
		{Silence, x.silence},
		{Mismatch, x.mismatch},
		{Downloadable, x.downloadable},
		{Lane, x.lanes},
		{Late, x.late},
		{Housekeeping, x.housekeeping},
		{Workers, x.workers},
		{Connections, x.connections},
		{DatabaseSize, x.databaseSize},
	}
	findings := make([]Finding, len(conditions))
	for i, c := range conditions {
		findings[i] = examineOne(ctx, c.name, c.examine)
	}
	return findings
}

// ExamineReceiving examines the conditions that a program which only receives has
// the rights to examine.
func (x *Examiner) ExamineReceiving(ctx context.Context) []Finding {
	return []Finding{examineOne(ctx, Backlog, x.backlog), examineOne(ctx, Mismatch, x.mismatch)}
}

func examineOne(ctx context.Context, name string, examine func(context.Context) (Finding, error)) Finding {
	ctx, cancel := context.WithTimeout(ctx, conditionTimeout)
	defer cancel()
	f, err := examine(ctx)
	f.Condition, f.Err = name, err
	slices.SortFunc(f.Alerts, func(a, b Alert) int { return cmp.Compare(a.Key, b.Key) })
	return f
}
