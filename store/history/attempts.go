package history

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
)

// AttemptPoint counts the attempts of one step with one kind and outcome.
type AttemptPoint struct {
	At       time.Time // start of the step
	Kind     string
	Outcome  string // as in the metric lumin_attempts_total
	Attempts int64
}

// Attempts counts attempts by step, kind and outcome, in the order of time. There
// is no point for a step without attempts. An empty kind means all kinds.
func Attempts(ctx context.Context, db query.DB, r Range, kind string) ([]AttemptPoint, error) {
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("read the history of attempts: %w", err)
	}
	table, at := r.table("lumin.attempt_minutes", "lumin.attempt_hours")
	sql := fmt.Sprintf(`
		SELECT date_bin($3, m.%[2]s, $1), m.kind, m.outcome, sum(m.attempts)
		FROM %[1]s m WHERE m.%[2]s >= $1 AND m.%[2]s < $2 AND ($4 = '' OR m.kind = $4)
		GROUP BY 1, 2, 3 ORDER BY 1, m.kind COLLATE "C", m.outcome COLLATE "C"`, table, at)
	return query.Structs[AttemptPoint](ctx, db, "read the history of attempts", sql, r.From, r.To, r.Step, kind)
}

// EffectTimes returns the times from the receipt of an event to the commit of its
// effect, by step, without those of replays. There is no point for a step without
// an effect. An empty kind means all kinds.
func EffectTimes(ctx context.Context, db query.DB, r Range, kind string) ([]TimesPoint, error) {
	return attemptTimes(ctx, db, "read the history of effects", r, kind, "m.effect_seconds", "m.effect_times")
}

// WorkTimes returns the durations of attempts by step. There is no point for a
// step without an attempt. An empty kind means all kinds.
func WorkTimes(ctx context.Context, db query.DB, r Range, kind string) ([]TimesPoint, error) {
	return attemptTimes(ctx, db, "read the history of work", r, kind, "m.work_seconds", "m.work_times")
}

func attemptTimes(ctx context.Context, db query.DB, call string, r Range, kind, seconds, times string) ([]TimesPoint, error) {
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", call, err)
	}
	table, at := r.table("lumin.attempt_minutes", "lumin.attempt_hours")
	sql := fmt.Sprintf(`
		SELECT date_bin($3, m.%[2]s, $1), sum(%[3]s), %[4]s
		FROM %[1]s m WHERE m.%[2]s >= $1 AND m.%[2]s < $2 AND ($4 = '' OR m.kind = $4) AND cardinality(%[5]s) > 0
		GROUP BY 1 ORDER BY 1`, table, at, seconds, sumOf(times), times)
	return query.Rows(ctx, db, call, scanTimesPoint, sql, r.From, r.To, r.Step, kind)
}

// scanTimesPoint reads the start of a step, a sum of seconds and the sums of the
// buckets.
func scanTimesPoint(row pgx.CollectableRow) (p TimesPoint, err error) {
	counts := p.Times.counts[:]
	err = row.Scan(&p.At, &p.Times.seconds, &counts)
	copy(p.Times.counts[:], counts)
	return p, err
}

// AttemptTotal counts the attempts of a whole range with one kind and outcome.
type AttemptTotal struct {
	Kind     string
	Outcome  string // as in the metric lumin_attempts_total
	Attempts int64
	Work     Times // durations of the attempts
	Effect   Times // from the receipt of the event to its effect, without replays
}

// AttemptTotals counts the attempts of a range by kind and outcome.
func AttemptTotals(ctx context.Context, db query.DB, r Range) ([]AttemptTotal, error) {
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("count the attempts of a time: %w", err)
	}
	table, at := r.table("lumin.attempt_minutes", "lumin.attempt_hours")
	sql := fmt.Sprintf(`
		SELECT m.kind, m.outcome, sum(m.attempts), sum(m.work_seconds), %[3]s, sum(m.effect_seconds), %[4]s
		FROM %[1]s m WHERE m.%[2]s >= $1 AND m.%[2]s < $2
		GROUP BY 1, 2 ORDER BY 1, 2`, table, at, sumOf("m.work_times"), sumOf("m.effect_times"))
	return query.Rows(ctx, db, "count the attempts of a time", scanAttemptTotal, sql, r.From, r.To)
}

func scanAttemptTotal(row pgx.CollectableRow) (t AttemptTotal, err error) {
	work, effect := t.Work.counts[:], t.Effect.counts[:]
	err = row.Scan(&t.Kind, &t.Outcome, &t.Attempts, &t.Work.seconds, &work, &t.Effect.seconds, &effect)
	copy(t.Work.counts[:], work)
	copy(t.Effect.counts[:], effect)
	return t, err
}
