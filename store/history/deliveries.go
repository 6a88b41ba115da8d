package history

import (
	"context"
	"fmt"
	"time"

	"lumin-ingest/internal/query"
)

// DeliveryPoint counts the deliveries of one step with one result.
type DeliveryPoint struct {
	At         time.Time // start of the step
	Result     string
	Deliveries int64
}

// Deliveries counts deliveries by step and result, in the order of time. There is
// no point for a step without deliveries. An empty source means all.
func Deliveries(ctx context.Context, db query.DB, r Range, source string) ([]DeliveryPoint, error) {
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("read the history of deliveries: %w", err)
	}
	table, at := r.table("lumin.delivery_minutes", "lumin.delivery_hours")
	sql := fmt.Sprintf(`
		SELECT date_bin($3, m.%[2]s, $1), m.result, sum(m.deliveries)
		FROM %[1]s m WHERE m.%[2]s >= $1 AND m.%[2]s < $2 AND ($4 = '' OR m.source = $4)
		GROUP BY 1, 2 ORDER BY 1, m.result COLLATE "C"`, table, at)
	return query.Structs[DeliveryPoint](ctx, db, "read the history of deliveries", sql, r.From, r.To, r.Step, source)
}

// Unrecognized counts the deliveries that had no usable identity.
func Unrecognized(points []DeliveryPoint) (n int64) {
	for _, p := range points {
		if p.Result == "unrecognized" {
			n += p.Deliveries
		}
	}
	return n
}

// TimesPoint holds the durations of one step.
type TimesPoint struct {
	At    time.Time // start of the step
	Times Times
}

// AnswerTimes returns the times to answer verified deliveries, by step. There is
// no point for a step without such a delivery. An empty source means all.
func AnswerTimes(ctx context.Context, db query.DB, r Range, source string) ([]TimesPoint, error) {
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("read the history of answer times: %w", err)
	}
	table, at := r.table("lumin.delivery_minutes", "lumin.delivery_hours")
	sql := fmt.Sprintf(`
		SELECT date_bin($3, m.%[2]s, $1), sum(m.seconds), %[3]s
		FROM %[1]s m WHERE m.%[2]s >= $1 AND m.%[2]s < $2 AND ($4 = '' OR m.source = $4) AND cardinality(m.times) > 0
		GROUP BY 1 ORDER BY 1`, table, at, sumOf("m.times"))
	return query.Rows(ctx, db, "read the history of answer times", scanTimesPoint, sql, r.From, r.To, r.Step, source)
}

// DeliveryTotal counts the deliveries of a whole range with one source, result and
// reason.
type DeliveryTotal struct {
	Source     string // a configured one, or "unknown"
	Result     string
	Reason     string // the code of a response other than 200; otherwise empty
	Deliveries int64
}

// DeliveryTotals counts the deliveries of a range by source, result and reason,
// the most frequent first.
func DeliveryTotals(ctx context.Context, db query.DB, r Range) ([]DeliveryTotal, error) {
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("count the deliveries of a time: %w", err)
	}
	table, at := r.table("lumin.delivery_minutes", "lumin.delivery_hours")
	sql := fmt.Sprintf(`
		SELECT m.source, m.result, m.reason, sum(m.deliveries)
		FROM %[1]s m WHERE m.%[2]s >= $1 AND m.%[2]s < $2
		GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3`, table, at)
	return query.Structs[DeliveryTotal](ctx, db, "count the deliveries of a time", sql, r.From, r.To)
}
