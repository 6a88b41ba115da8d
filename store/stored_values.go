package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
	"lumin-ingest/store/internal/estimate"
)

// StoredKind reports whether any run of a job type is failed, pending,
// parked, cancelled or dismissed. Such runs remain when a job type is removed from
// lumin.job_types.
func (s *Store) StoredKind(ctx context.Context, kind string) (found bool, err error) {
	err = s.pool.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM lumin.runs WHERE state = 'failed' AND job_kind = $1)
		    OR EXISTS (SELECT FROM lumin.runs WHERE state = 'pending' AND job_kind = $1)
		    OR EXISTS (SELECT FROM lumin.runs WHERE state = 'parked' AND job_kind = $1)
		    OR EXISTS (SELECT FROM lumin.runs WHERE state = 'cancelled' AND job_kind = $1)
		    OR EXISTS (SELECT FROM lumin.dismissals WHERE job_kind = $1)`, kind).Scan(&found)
	if err != nil {
		return false, fmt.Errorf("find runs of %s: %w", kind, err)
	}
	return found, nil
}

// Both statements jump from one value to the next in an index. They read a few
// entries per value, or per key and source, whatever the number of events.
const (
	storedSourcesSQL = `
WITH RECURSIVE s AS (
    (SELECT e.key_id, e.source AS name FROM lumin.events e ORDER BY e.key_id, e.source LIMIT 1)
    UNION ALL
    SELECT n.key_id, n.source FROM s CROSS JOIN LATERAL (
        SELECT e.key_id, e.source FROM lumin.events e
        WHERE (e.key_id, e.source) > (s.key_id, s.name) ORDER BY e.key_id, e.source LIMIT 1
    ) n
)
SELECT DISTINCT name FROM s ORDER BY name`

	storedEventTypesSQL = `
WITH RECURSIVE t AS (
    SELECT min(e.event_type) AS name FROM lumin.events e
    UNION ALL
    SELECT (SELECT min(e.event_type) FROM lumin.events e WHERE e.event_type > t.name) FROM t WHERE t.name IS NOT NULL
)
SELECT name FROM t WHERE name IS NOT NULL`
)

// StoredSources lists the sources of the stored events.
func (s *Store) StoredSources(ctx context.Context) ([]string, error) {
	return s.names(ctx, "list sources", storedSourcesSQL)
}

// StoredEventTypes lists the event types of the stored events.
func (s *Store) StoredEventTypes(ctx context.Context) ([]string, error) {
	return s.names(ctx, "list event types", storedEventTypesSQL)
}

// StoredFingerprints lists the errors of the runs in a state. It adds the errors
// that earlier replays named, because those replays may have settled all of their
// runs. It returns false if there are too many runs to read them all at once.
func (s *Store) StoredFingerprints(ctx context.Context, state string) (names []string, all bool, err error) {
	return s.fingerprints(ctx, `
		SELECT DISTINCT r.error_fingerprint FROM lumin.runs r WHERE r.state = $1 AND r.error_fingerprint IS NOT NULL
		UNION SELECT unnest(o.error_fingerprints) FROM lumin.replays o ORDER BY 1`, state)
}

// DismissedFingerprints lists the errors of dismissed runs, like
// [Store.StoredFingerprints].
func (s *Store) DismissedFingerprints(ctx context.Context) (names []string, all bool, err error) {
	return s.fingerprints(ctx, `
		SELECT DISTINCT error_fingerprint FROM lumin.dismissed_runs WHERE error_fingerprint IS NOT NULL ORDER BY 1`)
}

// StoredError returns the error of a run in a state that has a fingerprint. It is
// empty if there is none, or if it is not found at a glance.
func (s *Store) StoredError(ctx context.Context, state, fingerprint string) (string, error) {
	sql := `SELECT r.error FROM lumin.runs r WHERE r.state = $1 AND r.error_fingerprint = $2 LIMIT 1`
	if state == "dismissed" {
		sql = `SELECT r.error FROM lumin.dismissals d JOIN lumin.runs r ON r.event_key = d.event_key AND r.job_kind = d.job_kind
			WHERE r.state = $1 AND r.error_fingerprint = $2 LIMIT 1`
	}
	found, _, err := estimate.Exactly(ctx, s.pool, estimate.Glance(), "lumin.runs", func(ctx context.Context, tx pgx.Tx) ([]string, error) {
		return query.Column[string](ctx, tx, "find an error", sql, pgx.QueryExecModeCacheDescribe, state, fingerprint)
	})
	if err != nil || len(found) == 0 {
		return "", err
	}
	return found[0], nil
}

func (s *Store) fingerprints(ctx context.Context, sql string, args ...any) (names []string, all bool, err error) {
	return estimate.Exactly(ctx, s.pool, estimate.Quick(), "lumin.runs", func(ctx context.Context, tx pgx.Tx) ([]string, error) {
		return query.Column[string](ctx, tx, "list errors", sql, append([]any{pgx.QueryExecModeCacheDescribe}, args...)...)
	})
}

func (s *Store) names(ctx context.Context, what, sql string, args ...any) ([]string, error) {
	return query.Column[string](ctx, s.pool, what, sql, append([]any{pgx.QueryExecModeCacheDescribe}, args...)...)
}

// SubscribedSources lists the sources that registered job types name.
func (s *Store) SubscribedSources(ctx context.Context) ([]string, error) {
	return s.names(ctx, "list sources of job types", `SELECT DISTINCT unnest(sources) FROM lumin.job_types ORDER BY 1`)
}
