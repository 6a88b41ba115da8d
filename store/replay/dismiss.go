package replay

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
	"lumin-ingest/internal/redact"
)

// ErrNoReason refuses to dismiss runs without a reason.
var ErrNoReason = errors.New("a dismissal needs a reason")

// Dismiss removes the failed runs that match from the list of failures, and
// stores the reason and the person who dismissed them. Replays skip dismissed
// runs, and retention removes their events. With the status Late, it creates the
// runs that late events lack, as dismissed ones: the events then no longer wait
// for a decision. E-mail addresses are removed from the reason. Dismiss returns how
// many runs it dismissed, even with an error, and may be called again at any time.
func (s *Store) Dismiss(ctx context.Context, f Filter, reason, by string) (runs int64, err error) {
	if strings.TrimSpace(reason) == "" {
		return 0, ErrNoReason
	}
	if f.Status != "" && f.Status != Failed && f.Status != Late {
		return 0, fmt.Errorf("dismiss %s runs: only failed runs and late events can be dismissed", f.Status)
	}
	if err := f.Validate(); err != nil {
		return 0, err
	}
	if f, err = s.bounded(ctx, f); err != nil {
		return 0, err
	}
	args := f.args()
	args["reason"], args["by"] = redact.Text(reason), by
	if f.Status == Late {
		return s.dismissLate(ctx, f, args)
	}
	return s.eachFailure(ctx, dismissSQL(f), args)
}

func dismissSQL(f Filter) string {
	return eachFailureSQL(f, "lumin.dismiss_failure(p.event_key, p.job_kind, @reason, coalesce(nullif(@by, ''), current_user))")
}

// Restore makes the dismissed runs that match failed again, with their errors,
// except runs whose body has been removed since. It ignores the status of the
// filter. It returns how many runs it restored, even with an error, and may be
// called again at any time.
func (s *Store) Restore(ctx context.Context, f Filter) (runs int64, err error) {
	if f, err = f.ofDismissed(); err != nil {
		return 0, err
	}
	if f, err = s.bounded(ctx, f); err != nil {
		return 0, err
	}
	return s.eachFailure(ctx, restoreSQL(f), f.args())
}

func restoreSQL(f Filter) string {
	return eachFailureSQL(f, "lumin.restore_failure(p.event_key, p.job_kind)")
}

// PlanRestore counts the runs that Restore would restore now, and the dismissed
// runs that match and cannot be restored, because their body has been removed.
// It does not count those if the plan is an estimate.
func (s *Store) PlanRestore(ctx context.Context, f Filter) (plan Plan, excluded Excluded, err error) {
	if f, err = f.ofDismissed(); err != nil {
		return plan, excluded, err
	}
	if f, err = s.bounded(ctx, f); err != nil {
		return plan, excluded, err
	}
	if plan, err = s.planRuns(ctx, f, withBody); err != nil || !plan.Exact {
		return plan, excluded, err
	}
	bodiless, err := s.planRuns(ctx, f, withoutBody)
	return plan, Excluded{Bodiless: bodiless.Runs(), Exact: bodiless.Exact}, err
}

func (f Filter) ofDismissed() (Filter, error) {
	f.Status = Failed
	err := f.Validate()
	f.Status = dismissed
	return f, err
}

// eachFailurePage is how many runs change in one transaction, so that none of
// them is locked for long.
const eachFailurePage = 5000

// eachFailureSQL calls an SQL function for a page of the runs p that match. The
// function returns whether it changed the run.
func eachFailureSQL(f Filter, function string) string {
	page := f.runs(withBody).and(`(r.event_key, r.job_kind) > (@after::uuid, @after_kind::text)`)
	return `SELECT p.event_key, p.job_kind, ` + function + `
FROM (
    SELECT r.event_key, r.job_kind
    ` + page.SQL(4) + `
    ORDER BY r.event_key, r.job_kind LIMIT @limit OFFSET 0
) p`
}

// eachFailure runs a statement of eachFailureSQL, one page at a time.
func (s *Store) eachFailure(ctx context.Context, sql string, args pgx.NamedArgs) (runs int64, err error) {
	args["limit"] = eachFailurePage
	var (
		key     [16]byte
		kind    string
		changed bool
	)
	for found := eachFailurePage; found == eachFailurePage; {
		args["after"], args["after_kind"] = key, kind
		found = 0
		var page int64
		err := query.Each(ctx, s.pool, "change failures", []any{&key, &kind, &changed}, func() error {
			if found++; changed {
				page++
			}
			return nil
		}, sql, pgx.QueryExecModeCacheDescribe, args)
		if err != nil {
			return runs, err
		}
		runs += page
	}
	return runs, nil
}
