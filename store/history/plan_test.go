package history_test

import (
	"context"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/query"
	"lumin-ingest/store/history"
	"lumin-ingest/store/internal/storetest"
)

// fillSQL inserts 30 days of hours, and a day of minutes in its middle and at its
// end, for ten sources with five reasons, or ten kinds with five outcomes. The last
// hour has the rows of four programs.
const fillSQL = `
WITH times AS (SELECT ARRAY(SELECT 1 FROM generate_series(1, 19)) AS t),
minutes AS (
    SELECT m, now() - m < interval '1 hour' AS own FROM generate_series(date_trunc('hour', now()) - interval '24 hours', now(), '1 minute') m
    UNION ALL
    SELECT m, false FROM generate_series(date_trunc('hour', now()) - interval '15 days', date_trunc('hour', now()) - interval '14 days', '1 minute') m
), per_minute AS (
    SELECT m, s, r, CASE WHEN own THEN ('00000000-0000-0000-0000-00000000000' || p)::uuid ELSE '00000000-0000-0000-0000-000000000000' END AS program
    FROM minutes, generate_series(1, 10) s, generate_series(1, 5) r, generate_series(1, CASE WHEN own THEN 4 ELSE 1 END) p
), d AS (
    INSERT INTO lumin.delivery_minutes (minute, source, result, reason, program, deliveries, seconds, times)
    SELECT m, 'app:' || s, 'refused', 'reason' || r, program, 19, 19, t FROM per_minute, times ORDER BY m
), a AS (
    INSERT INTO lumin.attempt_minutes (minute, kind, outcome, program, attempts, work_seconds, work_times, effect_seconds, effect_times)
    SELECT m, 'kind' || s, 'outcome' || r, program, 19, 19, t, 19, t FROM per_minute, times ORDER BY m
), per_hour AS (
    SELECT h, s, r FROM generate_series(date_trunc('hour', now()) - interval '30 days', now(), '1 hour') h, generate_series(1, 10) s, generate_series(1, 5) r
), dh AS (
    INSERT INTO lumin.delivery_hours (hour, source, result, reason, deliveries, seconds, times)
    SELECT h, 'app:' || s, 'refused', 'reason' || r, 19, 19, t FROM per_hour, times ORDER BY h
), b AS (
    INSERT INTO lumin.backlog_minutes (minute, oldest_pending_seconds)
    SELECT m, 0 FROM generate_series(date_trunc('minute', now()) - interval '30 days', now(), '1 minute') m
)
INSERT INTO lumin.attempt_hours (hour, kind, outcome, attempts, work_seconds, work_times, effect_seconds, effect_times)
SELECT h, 'kind' || s, 'outcome' || r, 19, 19, t, 19, t FROM per_hour, times ORDER BY h`

// explainer explains the statements that it is asked to run.
type explainer struct {
	*pgxpool.Pool
	plan string
}

// Query implements query.DB.
func (e *explainer) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	lines, err := query.Column[string](ctx, e.Pool, "explain", `EXPLAIN (ANALYZE, TIMING OFF) `+sql, args...)
	if err != nil {
		e.plan = err.Error()
	}
	e.plan += strings.Join(lines, "\n")
	return e.Pool.Query(ctx, sql, args...)
}

// Each function reads only the rows of its range, by index: of a week by hour, and
// of an hour by minute.
func TestPlans(t *testing.T) {
	t.Parallel()
	pool := pgtest.PoolOf(t, pgtest.New(t), 1)
	storetest.Exec(t, pool, fillSQL)
	storetest.Exec(t, pool, `ANALYZE`)
	now := time.Now()
	week, hour := history.NewRange(now.AddDate(0, 0, -7), now), history.NewRange(now.Add(-time.Hour), now)
	for name, c := range map[string]struct {
		read func(db query.DB, r history.Range) error
		week int // rows of a week
		hour int // rows of an hour by minute
	}{
		"deliveries": {func(db query.DB, r history.Range) error { return errorOf(history.Deliveries(t.Context(), db, r, "")) }, 169 * 50, 61 * 200},
		"answer times": {func(db query.DB, r history.Range) error {
			return errorOf(history.AnswerTimes(t.Context(), db, r, "app:1"))
		}, 169 * 50, 61 * 200},
		"delivery totals": {func(db query.DB, r history.Range) error { return errorOf(history.DeliveryTotals(t.Context(), db, r)) }, 169 * 50, 61 * 200},
		"attempts":        {func(db query.DB, r history.Range) error { return errorOf(history.Attempts(t.Context(), db, r, "")) }, 169 * 50, 61 * 200},
		"effect times": {func(db query.DB, r history.Range) error {
			return errorOf(history.EffectTimes(t.Context(), db, r, "kind1"))
		}, 169 * 50, 61 * 200},
		"work times":     {func(db query.DB, r history.Range) error { return errorOf(history.WorkTimes(t.Context(), db, r, "")) }, 169 * 50, 61 * 200},
		"attempt totals": {func(db query.DB, r history.Range) error { return errorOf(history.AttemptTotals(t.Context(), db, r)) }, 169 * 50, 61 * 200},
		"backlog":        {func(db query.DB, r history.Range) error { return errorOf(history.Backlog(t.Context(), db, r)) }, 169 * 60, 61},
	} {
		for of, most := range map[history.Range]int{week: c.week, hour: c.hour} {
			db := &explainer{Pool: pool}
			began := time.Now()
			if err := c.read(pool, of); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			t.Logf("%s by %v took %v", name, of.Step, time.Since(began))
			if err := c.read(db, of); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if read := rowsRead(db.plan); read > most+most/10 || strings.Contains(db.plan, "Seq Scan") {
				t.Errorf("%s by %v reads %d rows, want %d at most:\n%s", name, of.Step, read, most, db.plan)
			}
		}
	}
}

func errorOf[T any](_ []T, err error) error { return err }

// rowsRead adds up the rows that the scans of a plan returned or removed.
func rowsRead(plan string) (n int) {
	add := func(text string) {
		rows, err := strconv.ParseFloat(text, 64)
		if err == nil {
			n += int(rows)
		}
	}
	for _, scan := range regexp.MustCompile(`(\w+ \w+) Scan (.*)\(actual rows=([0-9.]+)`).FindAllStringSubmatch(plan, -1) {
		if scan[1] != "Bitmap Index" { // followed by Bitmap Heap
			add(scan[3])
		}
	}
	for _, removed := range storetest.RemovedRows.FindAllStringSubmatch(plan, -1) {
		add(removed[1])
	}
	return n
}
