package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// replayDismissed chooses dismissed runs. No replay has this status: dismissed runs
// must be restored before they can be replayed.
const replayDismissed ReplayStatus = "dismissed"

// ErrNoReason refuses to dismiss runs without a reason.
var ErrNoReason = errors.New("a dismissal needs a reason")

// dismissPageRuns is how many runs change in one transaction, so that none of them
// is locked for long.
const dismissPageRuns = 5000

// DismissFailures takes the failed runs that match off the list of failures, and
// stores the reason and who dismissed them. Replays skip dismissed runs, and
// retention removes their events. It returns how many runs it dismissed, even with
// an error, and may be called again at any time.
func (s *Store) DismissFailures(ctx context.Context, f ReplayFilter, reason, by string) (runs int64, err error) {
	if strings.TrimSpace(reason) == "" {
		return 0, ErrNoReason
	}
	if f.Status != "" && f.Status != ReplayFailed {
		return 0, fmt.Errorf("dismiss %s runs: only failed runs can be dismissed", f.Status)
	}
	if err := f.Validate(); err != nil {
		return 0, err
	}
	args := f.args()
	args["reason"], args["by"] = reason, by
	return s.eachFailure(ctx, f, "lumin.dismiss_failure(p.event_key, p.job_kind, @reason, coalesce(nullif(@by, ''), current_user))", args)
}

// RestoreFailures makes the dismissed runs that match failed again, with their
// errors, except runs whose body has been removed since. It ignores the status of
// the filter. It returns how many runs it restored, even with an error, and may be
// called again at any time.
func (s *Store) RestoreFailures(ctx context.Context, f ReplayFilter) (runs int64, err error) {
	if f, err = f.ofDismissed(); err != nil {
		return 0, err
	}
	return s.eachFailure(ctx, f, "lumin.restore_failure(p.event_key, p.job_kind)", f.args())
}

// PlanRestore counts what RestoreFailures would restore now, and the dismissed runs
// that match and cannot be restored because their body has been removed.
func (s *Store) PlanRestore(ctx context.Context, f ReplayFilter) (plan []PlannedReplay, bodiless int64, err error) {
	if f, err = f.ofDismissed(); err != nil {
		return nil, 0, err
	}
	if plan, err = s.planRuns(ctx, f); err != nil {
		return nil, 0, err
	}
	f.withoutBody = true
	bodiless, err = s.countRuns(ctx, f)
	return plan, bodiless, err
}

func (s *Store) countRuns(ctx context.Context, f ReplayFilter) (n int64, err error) {
	plan, err := s.planRuns(ctx, f)
	for _, p := range plan {
		n += p.Runs
	}
	return n, err
}

func (f ReplayFilter) ofDismissed() (ReplayFilter, error) {
	f.Status = ReplayFailed
	err := f.Validate()
	f.Status = replayDismissed
	return f, err
}

// eachFailure calls an SQL function for all runs p that match, a page at a time. The
// function returns whether it changed the run.
func (s *Store) eachFailure(ctx context.Context, f ReplayFilter, function string, args pgx.NamedArgs) (runs int64, err error) {
	sql := `
SELECT p.event_key, p.job_kind, ` + function + `
FROM (SELECT r.event_key, r.job_kind ` + f.matchingRuns() + `
      AND (r.event_key, r.job_kind) > (@after::uuid, @after_kind::text)
      ORDER BY r.event_key, r.job_kind LIMIT @limit OFFSET 0) p`
	args["limit"] = dismissPageRuns
	var (
		key     [16]byte
		kind    string
		changed bool
	)
	for found := dismissPageRuns; found == dismissPageRuns; {
		args["after"], args["after_kind"] = key, kind
		rows, err := s.pool.Query(ctx, sql, pgx.QueryExecModeCacheDescribe, args)
		if err != nil {
			return runs, fmt.Errorf("go through failures: %w", err)
		}
		found = 0
		var now int64
		_, err = pgx.ForEachRow(rows, []any{&key, &kind, &changed}, func() error {
			if found++; changed {
				now++
			}
			return nil
		})
		if err != nil {
			return runs, fmt.Errorf("go through failures: %w", err)
		}
		runs += now
	}
	return runs, nil
}

// LeftOut counts runs that match a filter and that a replay leaves out nevertheless.
type LeftOut struct {
	Bodiless  int64 // whose body retention or an erasure has removed
	Dismissed int64
}

// LeftOut counts the runs that a replay of this filter leaves out.
func (s *Store) LeftOut(ctx context.Context, f ReplayFilter) (l LeftOut, err error) {
	switch f.Status {
	case "", ReplayFailed:
		f.Status = replayDismissed
		l.Dismissed, err = s.countRuns(ctx, f)
	case ReplaySucceeded, ReplayCancelled, ReplayMissing:
		f.withoutBody = true
		l.Bodiless, err = s.countRuns(ctx, f)
	}
	return l, err
}
