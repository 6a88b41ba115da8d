package replay

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// dismissLateSQL creates dismissed runs for the late events that match, at most a
// page of them, and returns the id of the last event. The next page begins with it,
// because the page may not have had room for all its job types. Events are locked as
// in missingPageSQL. A run that a replay creates at the same moment stays as it is.
func dismissLateSQL(f Filter) string {
	held := f.missing(`JOIN lumin.job_types t ON cardinality(@kinds::text[]) = 0 OR t.kind = ANY (@kinds)`, withBody).and(
		`NOT EXISTS (SELECT FROM lumin.runs r WHERE r.event_key = e.event_key AND r.job_kind = t.kind OFFSET 0)`,
		`e.id >= @after`)
	return `WITH held AS MATERIALIZED (
    SELECT e.event_key, t.kind, e.id
    ` + held.SQL(4) + `
    ORDER BY e.id, t.kind LIMIT @limit
    FOR KEY SHARE OF e SKIP LOCKED
), created AS (
    INSERT INTO lumin.runs (event_key, job_kind, event_id, state, finished_at)
    SELECT event_key, kind, id, 'dismissed', now() FROM held ORDER BY event_key, kind COLLATE "C", id
    ON CONFLICT (event_key, job_kind) DO NOTHING
    RETURNING event_key, job_kind
), noted AS (
    INSERT INTO lumin.dismissals AS d (event_key, job_kind, reason, dismissed_by)
    SELECT event_key, job_kind, @reason, coalesce(nullif(@by, ''), current_user) FROM created ORDER BY event_key, job_kind COLLATE "C"
    ON CONFLICT (event_key, job_kind) DO UPDATE
    SET reason = excluded.reason, dismissed_by = excluded.dismissed_by, dismissed_at = excluded.dismissed_at
)
SELECT (SELECT count(*) FROM held), (SELECT count(*) FROM created), (SELECT coalesce(max(id), 0) FROM held)`
}

// dismissLate creates dismissed runs, one page at a time. It leaves out events that
// another transaction holds.
func (s *Store) dismissLate(ctx context.Context, f Filter, args pgx.NamedArgs) (runs int64, err error) {
	var after int64
	args["limit"] = eachFailurePage
	for {
		var held, created, last int64
		args["after"] = after
		err := s.pool.QueryRow(ctx, dismissLateSQL(f), pgx.QueryExecModeCacheDescribe, args).Scan(&held, &created, &last)
		if err != nil {
			return runs, fmt.Errorf("dismiss late events: %w", err)
		}
		runs += created
		if held < eachFailurePage || (created == 0 && last == after) {
			return runs, nil
		}
		after = last
	}
}
