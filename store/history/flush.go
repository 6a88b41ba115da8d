package history

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A flush does not wait for the disk or a standby at its commit: a crash may cost
// some seconds of history.
const beginSQL = `SELECT set_config('synchronous_commit', 'off', true), clock_timestamp()`

// deliveryRow is a row of lumin.delivery_minutes, for jsonb_to_recordset.
type deliveryRow struct {
	Source     string  `json:"source"`
	Result     string  `json:"result"`
	Reason     string  `json:"reason"`
	Deliveries int64   `json:"deliveries"`
	Seconds    float64 `json:"seconds"`
	Times      []int64 `json:"times"`
}

// flushDeliveriesSQL writes the rows of one minute of one program, and adds what
// they have gained to the rows of the hour. The rows of the hour are locked in one
// order by all programs.
func flushDeliveriesSQL() string {
	return `
WITH new AS (
    SELECT * FROM jsonb_to_recordset($4) AS n (source text, result text, reason text, deliveries integer, seconds float8, times integer[])
), old AS (
    SELECT m.* FROM new n
    JOIN lumin.delivery_minutes m ON m.minute = $2 AND m.source = n.source AND m.result = n.result AND m.reason = n.reason AND m.program = $1
), minutes AS (
    INSERT INTO lumin.delivery_minutes (minute, program, source, result, reason, deliveries, seconds, times)
    SELECT $2, $1, n.source, n.result, n.reason, n.deliveries, n.seconds, n.times FROM new n
    ON CONFLICT (minute, source, result, reason, program) DO UPDATE
    SET deliveries = excluded.deliveries, seconds = excluded.seconds, times = excluded.times
)
INSERT INTO lumin.delivery_hours AS h (hour, source, result, reason, deliveries, seconds, times)
SELECT $3, n.source, n.result, n.reason, n.deliveries - coalesce(o.deliveries, 0), n.seconds - coalesce(o.seconds, 0), ` + minus("n.times", "o.times") + `
FROM new n LEFT JOIN old o ON o.source = n.source AND o.result = n.result AND o.reason = n.reason
ORDER BY n.source, n.result, n.reason
ON CONFLICT (hour, source, result, reason) DO UPDATE
SET deliveries = h.deliveries + excluded.deliveries, seconds = h.seconds + excluded.seconds, times = ` + plus("h.times", "excluded.times")
}

// attemptRow is a row of lumin.attempt_minutes, for jsonb_to_recordset.
type attemptRow struct {
	Kind          string  `json:"kind"`
	Outcome       string  `json:"outcome"`
	Attempts      int64   `json:"attempts"`
	WorkSeconds   float64 `json:"work_seconds"`
	WorkTimes     []int64 `json:"work_times"`
	EffectSeconds float64 `json:"effect_seconds"`
	EffectTimes   []int64 `json:"effect_times"`
}

// flushAttemptsSQL is like flushDeliveriesSQL.
func flushAttemptsSQL() string {
	return `
WITH new AS (
    SELECT * FROM jsonb_to_recordset($4) AS n (kind text, outcome text, attempts integer, work_seconds float8, work_times integer[], effect_seconds float8, effect_times integer[])
), old AS (
    SELECT m.* FROM new n
    JOIN lumin.attempt_minutes m ON m.minute = $2 AND m.kind = n.kind AND m.outcome = n.outcome AND m.program = $1
), minutes AS (
    INSERT INTO lumin.attempt_minutes (minute, program, kind, outcome, attempts, work_seconds, work_times, effect_seconds, effect_times)
    SELECT $2, $1, n.kind, n.outcome, n.attempts, n.work_seconds, n.work_times, n.effect_seconds, n.effect_times FROM new n
    ON CONFLICT (minute, kind, outcome, program) DO UPDATE
    SET attempts = excluded.attempts, work_seconds = excluded.work_seconds, work_times = excluded.work_times,
        effect_seconds = excluded.effect_seconds, effect_times = excluded.effect_times
)
INSERT INTO lumin.attempt_hours AS h (hour, kind, outcome, attempts, work_seconds, work_times, effect_seconds, effect_times)
SELECT $3, n.kind, n.outcome, n.attempts - coalesce(o.attempts, 0),
       n.work_seconds - coalesce(o.work_seconds, 0), ` + minus("n.work_times", "o.work_times") + `,
       n.effect_seconds - coalesce(o.effect_seconds, 0), ` + minus("n.effect_times", "o.effect_times") + `
FROM new n LEFT JOIN old o ON o.kind = n.kind AND o.outcome = n.outcome
ORDER BY n.kind, n.outcome
ON CONFLICT (hour, kind, outcome) DO UPDATE
SET attempts = h.attempts + excluded.attempts,
    work_seconds = h.work_seconds + excluded.work_seconds, work_times = ` + plus("h.work_times", "excluded.work_times") + `,
    effect_seconds = h.effect_seconds + excluded.effect_seconds, effect_times = ` + plus("h.effect_times", "excluded.effect_times")
}

// Flush writes the counts that the database does not have yet, and reads the database's
// clock, in one round trip. Without such counts it only reads the clock, once a minute.
// After an error the next call tries again. Call it every few seconds, and before the
// first count if possible.
func (w *Writer) Flush(ctx context.Context, pool *pgxpool.Pool) error {
	w.flushing.Lock()
	defer w.flushing.Unlock()
	w.mu.Lock()
	deliveries, attempts := w.deliveries.take(), w.attempts.take()
	nothing := len(deliveries)+len(attempts) == 0 && w.clock.fresh()
	w.mu.Unlock()
	if nothing {
		return nil
	}
	start := w.clock.machine()
	database, err := w.write(ctx, pool, deliveries, attempts)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		w.clock.set(start, database)
	} else {
		w.deliveries.giveBack(deliveries)
		w.attempts.giveBack(attempts)
	}
	w.deliveries.forget(w.minute())
	w.attempts.forget(w.minute())
	return err
}

// write writes rows, and returns the time of the database's clock. Programs lock the
// rows of hours in the same order.
func (w *Writer) write(ctx context.Context, pool *pgxpool.Pool, deliveries map[deliveryKey]count, attempts map[attemptKey]count) (now time.Time, err error) {
	batch := &pgx.Batch{}
	batch.Queue(beginSQL).QueryRow(func(row pgx.Row) error { return row.Scan(nil, &now) })
	queueRows(batch, flushDeliveriesSQL(), w.program, deliveries, func(k deliveryKey, c count) deliveryRow {
		return deliveryRow{k.source, k.result, k.reason, c.n, c.took.seconds, c.took.stored()}
	})
	queueRows(batch, flushAttemptsSQL(), w.program, attempts, func(k attemptKey, c count) attemptRow {
		return attemptRow{k.kind, k.outcome, c.n, c.took.seconds, c.took.stored(), c.effect.seconds, c.effect.stored()}
	})
	if err := pool.SendBatch(ctx, batch).Close(); err != nil {
		return now, fmt.Errorf("write the history: %w", err)
	}
	return now, nil
}

// queueRows queues a statement for each minute, the oldest first.
func queueRows[K interface {
	comparable
	at() int64
}, R any](batch *pgx.Batch, sql string, program [16]byte, counted map[K]count, row func(K, count) R) {
	minutes := map[int64][]R{}
	for key, c := range counted {
		minutes[key.at()] = append(minutes[key.at()], row(key, c))
	}
	for _, minute := range slices.SortedFunc(maps.Keys(minutes), cmp.Compare) {
		at := time.Unix(minute*60, 0).UTC()
		batch.Queue(sql, program, at, at.Truncate(time.Hour), minutes[minute])
	}
}
