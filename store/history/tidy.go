package history

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/query"
)

const (
	// Retention is how long history is kept.
	Retention = 30 * 24 * time.Hour

	// mergeAfter is the age at which the rows of a minute are merged over all
	// programs. Programs write a minute up to keptFor after it.
	mergeAfter = time.Hour

	// A step of Tidy merges or removes up to stepSize rows of each table. One call
	// does at most maxTidySteps, so that a long pause is made up for gradually.
	stepSize     = 2000
	maxTidySteps = 10
)

// lockSQL lets one program tidy at a time. The number of the lock only has to
// differ from those of other advisory locks.
const lockSQL = `SELECT pg_try_advisory_xact_lock(4720663921730158264), set_config('synchronous_commit', 'off', true)`

// mergeDeliveriesSQL adds rows of single programs to the rows of all programs. It
// finds them by a partial index, which holds no merged row.
func mergeDeliveriesSQL() string {
	return `
WITH gone AS (
    DELETE FROM lumin.delivery_minutes WHERE ctid = ANY (ARRAY(
        SELECT m.ctid FROM lumin.delivery_minutes m
        WHERE m.program <> '00000000-0000-0000-0000-000000000000' AND m.minute < now() - $1::interval
        ORDER BY m.minute LIMIT $2))
    RETURNING minute, source, result, reason, deliveries, seconds, times
), merged AS (
    INSERT INTO lumin.delivery_minutes AS m (minute, source, result, reason, program, deliveries, seconds, times)
    SELECT g.minute, g.source, g.result, g.reason, '00000000-0000-0000-0000-000000000000', sum(g.deliveries), sum(g.seconds),
           CASE WHEN max(cardinality(g.times)) > 0 THEN ` + sumOf("g.times") + ` ELSE '{}' END
    FROM gone g GROUP BY 1, 2, 3, 4
    ON CONFLICT (minute, source, result, reason, program) DO UPDATE
    SET deliveries = m.deliveries + excluded.deliveries, seconds = m.seconds + excluded.seconds, times = ` + plus("m.times", "excluded.times") + `
)
SELECT FROM gone`
}

// mergeAttemptsSQL is like mergeDeliveriesSQL.
func mergeAttemptsSQL() string {
	return `
WITH gone AS (
    DELETE FROM lumin.attempt_minutes WHERE ctid = ANY (ARRAY(
        SELECT m.ctid FROM lumin.attempt_minutes m
        WHERE m.program <> '00000000-0000-0000-0000-000000000000' AND m.minute < now() - $1::interval
        ORDER BY m.minute LIMIT $2))
    RETURNING minute, kind, outcome, attempts, work_seconds, work_times, effect_seconds, effect_times
), merged AS (
    INSERT INTO lumin.attempt_minutes AS m (minute, kind, outcome, program, attempts, work_seconds, work_times, effect_seconds, effect_times)
    SELECT g.minute, g.kind, g.outcome, '00000000-0000-0000-0000-000000000000', sum(g.attempts),
           sum(g.work_seconds), CASE WHEN max(cardinality(g.work_times)) > 0 THEN ` + sumOf("g.work_times") + ` ELSE '{}' END,
           sum(g.effect_seconds), CASE WHEN max(cardinality(g.effect_times)) > 0 THEN ` + sumOf("g.effect_times") + ` ELSE '{}' END
    FROM gone g GROUP BY 1, 2, 3
    ON CONFLICT (minute, kind, outcome, program) DO UPDATE
    SET attempts = m.attempts + excluded.attempts,
        work_seconds = m.work_seconds + excluded.work_seconds, work_times = ` + plus("m.work_times", "excluded.work_times") + `,
        effect_seconds = m.effect_seconds + excluded.effect_seconds, effect_times = ` + plus("m.effect_times", "excluded.effect_times") + `
)
SELECT FROM gone`
}

// removeSQL removes old rows of a table, by its primary key.
const removeSQL = `
DELETE FROM %[1]s WHERE ctid = ANY (ARRAY(
    SELECT t.ctid FROM %[1]s t WHERE t.%[2]s < now() - $1::interval ORDER BY t.%[2]s LIMIT $2))`

// Tidy removes history that is older than [Retention], and merges the rows of
// programs for minutes that ended over an hour ago, in short transactions. If
// another program is tidying, it does nothing. Call it about once a minute.
func Tidy(ctx context.Context, pool *pgxpool.Pool) error {
	for range maxTidySteps {
		more, err := tidyStep(ctx, pool)
		if err != nil {
			return fmt.Errorf("tidy the history: %w", err)
		}
		if !more {
			return nil
		}
	}
	return nil
}

// tidyStep does one transaction. It reports whether there may be more to do.
func tidyStep(ctx context.Context, pool *pgxpool.Pool) (more bool, err error) {
	err = pgx.BeginTxFunc(ctx, pool, query.ReadCommitted, func(tx pgx.Tx) error {
		var locked bool
		if err := tx.QueryRow(ctx, lockSQL).Scan(&locked, nil); err != nil || !locked {
			return err
		}
		batch := &pgx.Batch{}
		queue := func(sql string, age time.Duration) {
			batch.Queue(sql, age, stepSize).Exec(func(tag pgconn.CommandTag) error {
				more = more || tag.RowsAffected() >= stepSize
				return nil
			})
		}
		queue(mergeDeliveriesSQL(), mergeAfter)
		queue(mergeAttemptsSQL(), mergeAfter)
		for table, at := range map[string]string{
			"lumin.delivery_minutes": "minute", "lumin.delivery_hours": "hour",
			"lumin.attempt_minutes": "minute", "lumin.attempt_hours": "hour", "lumin.backlog_minutes": "minute",
		} {
			queue(fmt.Sprintf(removeSQL, table, at), Retention)
		}
		return tx.SendBatch(ctx, batch).Close()
	})
	return more, err
}
