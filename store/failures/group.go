package failures

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/query"
)

// NoFingerprint is the error fingerprint of runs whose error is not known.
const NoFingerprint = "none"

// Group describes the failed, retrying or dismissed runs of one job type with
// the same error fingerprint.
type Group struct {
	State       string    `json:"state"` // failed, retrying or dismissed
	Kind        string    `json:"job_kind"`
	Fingerprint string    `json:"error_fingerprint"` // as in lumin.runs; NoFingerprint if no error is known
	Runs        int64     `json:"count"`
	FirstAt     time.Time `json:"first_at"` // of the last attempt of each run
	LastAt      time.Time `json:"last_at"`
	EventID     int64     `json:"event_id"` // the newest event among them
	Error       string    `json:"error"`    // one of their errors

	// SucceededBefore counts runs that took effect before they were replayed.
	SucceededBefore int64 `json:"succeeded_before"`

	NextAttempt *time.Time `json:"next_attempt_at"` // the earliest of the retrying runs; nil while all are running

	// Dismissals are the most frequent reasons of dismissed runs. Together they may
	// have fewer runs than the group.
	Dismissals []Dismissal `json:"dismissals,omitempty"`

	// Exact is false if the numbers are estimates. The first, last and newest of the
	// runs are then those of the runs that were looked at.
	Exact bool `json:"exact" db:"-"`
}

// Dismissal counts the runs that one person has dismissed for one reason.
type Dismissal struct {
	By     string `json:"dismissed_by"`
	Reason string `json:"reason"`
	Runs   int64  `json:"count"`
}

// maxDismissals is how many reasons a group has at most.
const maxDismissals = 5

// OtherDismissals is how many runs were dismissed for a reason that is not in
// Dismissals.
func (g Group) OtherDismissals() int64 {
	rest := g.Runs
	for _, d := range g.Dismissals {
		rest -= d.Runs
	}
	if len(g.Dismissals) < maxDismissals {
		return 0
	}
	return max(rest, 0)
}

// Groups is a list of groups, the biggest first.
type Groups struct {
	Groups []Group

	// Exact is false if the numbers are estimates. A group of fewer than MayMiss runs
	// can then be missing.
	Exact   bool
	MayMiss int64
}

// List says which runs are grouped: [Failed], [Retrying] or [Dismissed]. It holds
// the parts of its statements. Each part selects runs r.
type List struct {
	state   string
	columns string // when a run failed, when its next attempt is, who dismissed it and why
	all     string // FROM and WHERE: every run of the list
	many    string // FROM and WHERE: the runs to go through for that
	newest  string // FROM, WHERE and ORDER BY: the newest runs, by an index
	table   string // of which a sample is taken
	within  string // condition on the rows of that table; "" means none
	sample  string // the rest of FROM, and WHERE, with this table
	effort
}

// Failed lists failed runs.
func Failed() List {
	const failed = `WHERE r.state = 'failed'`
	return List{
		state:   "failed",
		columns: `r.finished_at, NULL::timestamptz, '', ''`,
		all:     `FROM lumin.runs r ` + failed,
		many:    `FROM lumin.runs r ` + failed,
		newest:  `FROM lumin.runs r ` + failed + ` ORDER BY r.event_key DESC, r.job_kind DESC`,
		table:   `lumin.runs r`,
		sample:  failed,
		effort:  inPlace(),
	}
}

// hasFailedAttempt is true if an attempt of job j has failed. River counts the
// attempt that is running.
const hasFailedAttempt = `j.attempt > (j.state = 'running')::int`

// Retrying lists runs that failed and have attempts left.
//
// A replayed run that waits for its first attempt may still have its old error, so
// the attempts of its job decide. A run without the id of its job has had no
// attempt: a program of the version before this one queued it.
func Retrying() List {
	const (
		retrying = `
WHERE r.state = 'pending' AND r.error IS NOT NULL
  AND ` + hasFailedAttempt + ` AND j.attempted_at IS NOT NULL`
		ofJob = `
CROSS JOIN LATERAL (
    SELECT * FROM lumin.runs o
    WHERE o.event_key = lumin.run_key(j.args) AND o.job_kind = j.kind AND o.job_id = j.id OFFSET 0
) r` + retrying
	)
	return List{
		state:   "retrying",
		columns: `j.attempted_at, CASE WHEN j.state <> 'running' THEN j.scheduled_at END, '', ''`,
		all:     `FROM lumin.runs r JOIN lumin.river_job j ON j.id = r.job_id` + retrying,
		many:    `FROM lumin.runs r WHERE r.state = 'pending'`,
		newest:  fmt.Sprintf(`FROM (SELECT * FROM lumin.river_job q WHERE q.state = 'retryable' LIMIT %d) j`, ofJobs().newest) + ofJob,
		table:   `lumin.river_job j`,
		within:  `state IN ('available', 'retryable', 'running', 'scheduled')`,
		sample:  ofJob,
		effort:  ofJobs(),
	}
}

// Dismissed lists dismissed runs.
func Dismissed() List {
	const ofRun = `
CROSS JOIN LATERAL (
    SELECT * FROM lumin.runs o WHERE o.event_key = d.event_key AND o.job_kind = d.job_kind OFFSET 0
) r
WHERE r.state = 'dismissed'`
	return List{
		state:   "dismissed",
		columns: `r.finished_at, NULL::timestamptz, d.dismissed_by, d.reason`,
		all:     `FROM lumin.dismissals d` + ofRun,
		many:    `FROM lumin.dismissals d`,
		newest:  `FROM lumin.dismissals d` + ofRun + ` ORDER BY d.event_key DESC, d.job_kind DESC`,
		table:   `lumin.dismissals d`,
		sample:  ofRun,
		effort:  ofDismissed(),
	}
}

// groupSQL groups runs that come from a selection: of these kinds (none: all),
// failed since then (NULL: ever).
func (l List) groupSQL(selection string) string {
	return `
SELECT '` + l.state + `', g.job_kind, g.fingerprint, sum(g.n)::bigint, min(g.first_at), max(g.last_at), max(g.event_id), max(g.error),
       sum(g.succeeded_before)::bigint, min(g.next_at),
       coalesce(to_jsonb((array_agg(jsonb_build_object('dismissed_by', g.dismissed_by, 'reason', g.reason, 'count', g.n)
                                    ORDER BY g.n DESC, g.dismissed_by, g.reason)
                          FILTER (WHERE g.dismissed_by <> ''))[1:` + strconv.Itoa(maxDismissals) + `]), '[]')
FROM (
SELECT r.job_kind, r.fingerprint, r.dismissed_by, r.reason, count(*) AS n, min(r.at) AS first_at, max(r.at) AS last_at,
       max(r.event_id) AS event_id, coalesce(max(r.error), '') AS error, count(*) FILTER (WHERE r.rerun > 0) AS succeeded_before, min(r.next_at) AS next_at
FROM (
SELECT r.job_kind, coalesce(r.error_fingerprint, '` + NoFingerprint + `'), r.event_id, r.error, r.rerun, ` + l.columns + `
` + selection + `
) r (job_kind, fingerprint, event_id, error, rerun, at, next_at, dismissed_by, reason)
WHERE (cardinality($1::text[]) = 0 OR r.job_kind = ANY ($1))
  AND ($2::timestamptz IS NULL OR r.at >= $2)
GROUP BY 1, 2, 3, 4
) g
GROUP BY 2, 3
ORDER BY 4 DESC, 2, 3 LIMIT $3`
}

// Exactly groups every run of a list: of these kinds (none: all), failed since
// then (nil: ever), at most limit groups. Its duration grows with the runs.
func (l List) Exactly(ctx context.Context, pool *pgxpool.Pool, kinds []string, since *time.Time, limit int) (Groups, error) {
	found, err := l.group(ctx, pool, l.all, kinds, since, limit)
	for i := range found {
		found[i].Exact = true
	}
	return Groups{Groups: found, Exact: true}, err
}

func (l List) group(ctx context.Context, db query.DB, selection string, kinds []string, since *time.Time, limit int, args ...any) ([]Group, error) {
	args = append([]any{pgx.QueryExecModeCacheDescribe, query.NotNull(kinds), since, limit}, args...)
	return query.Structs[Group](ctx, db, "group failures", l.groupSQL(selection), args...)
}

// AnyDismissed reports whether any run is dismissed.
func AnyDismissed(ctx context.Context, pool *pgxpool.Pool) (found bool, err error) {
	if err := pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM lumin.dismissed_runs)`).Scan(&found); err != nil {
		return false, fmt.Errorf("find dismissed runs: %w", err)
	}
	return found, nil
}
