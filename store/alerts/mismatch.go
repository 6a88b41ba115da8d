package alerts

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
)

// refusedOfRotation is the number of mismatched signatures, without a valid one
// between them, that suggests a rotated key. A single one can come from anyone.
const refusedOfRotation = 10

// refusals are the deliveries of a source, to any program, whose signature no key
// matched, since one was verified.
type refusals struct {
	Source   string
	Refused  int64
	Verified *time.Time // the minute of that delivery; nil: none within the history
	Recent   bool       // Lumin may still repeat the last of them
}

// The history has a row with times for each hour and minute in which a delivery was
// verified. Refusals in that minute are not counted: it is not known which came
// first. Lumin repeats a delivery for 30 h 20 min, and an hour lasts until its end.
const refusalsSQL = `
WITH recent AS MATERIALIZED (
    SELECT DISTINCT h.source FROM lumin.delivery_hours h
    WHERE h.hour > now() - interval '32 hours' AND h.reason = 'signature_mismatch'
), sources AS (
    SELECT r.source, true AS recent FROM recent r
    UNION ALL
    SELECT o.source, false FROM unnest($1::text[]) AS o (source) WHERE o.source NOT IN (SELECT r.source FROM recent r)
)
SELECT s.source, n.refused, v.minute, s.recent
FROM sources s
LEFT JOIN LATERAL (
    SELECT h.hour FROM lumin.delivery_hours h
    WHERE h.source = s.source AND cardinality(h.times) > 0 ORDER BY h.hour DESC LIMIT 1
) l ON true
CROSS JOIN LATERAL (
    SELECT max(m.minute) AS minute FROM lumin.delivery_minutes m
    WHERE m.minute >= l.hour AND m.minute < l.hour + interval '1 hour' AND m.source = s.source AND cardinality(m.times) > 0
) v
CROSS JOIN LATERAL (
    SELECT coalesce(sum(x.deliveries), 0)::bigint AS refused
    FROM (SELECT h.deliveries FROM lumin.delivery_hours h
          WHERE h.hour > coalesce(l.hour, '-infinity') AND h.source = s.source AND h.reason = 'signature_mismatch'
          UNION ALL
          SELECT m.deliveries FROM lumin.delivery_minutes m
          WHERE m.minute > v.minute AND m.minute < l.hour + interval '1 hour' AND m.source = s.source AND m.reason = 'signature_mismatch') x
) n
ORDER BY s.source`

// mismatch finds sources whose key was probably rotated. An alert ends once a delivery
// was verified, and it is dropped once nothing is left that a new key could save.
func (x *Examiner) mismatch(ctx context.Context) (f Finding, err error) {
	open, err := x.openOf(ctx, Mismatch)
	if err != nil {
		return f, err
	}
	sources := []string{}
	for key := range open {
		sources = append(sources, strings.TrimPrefix(key, Mismatch+"/"))
	}
	found, err := query.Structs[refusals](ctx, x.pool, "count refused signatures", refusalsSQL, pgx.QueryExecModeCacheDescribe, sources)
	if err != nil {
		return f, err
	}
	for _, r := range found {
		_, isOpen := open[Mismatch+"/"+r.Source]
		switch holds := r.Refused >= refusedOfRotation || isOpen && r.Verified == nil; {
		case holds && r.Recent:
			f.Alerts = append(f.Alerts, mismatchAlert(r))
		case holds:
			f.Dropped = append(f.Dropped, Mismatch+"/"+r.Source)
		}
	}
	f.Reason = fmt.Sprintf("no source has had %d signatures in a row that no key matches", refusedOfRotation)
	return f, nil
}

func mismatchAlert(r refusals) Alert {
	last := "none in 30 days"
	if r.Verified != nil {
		last = r.Verified.UTC().Format("2006-01-02 15:04 UTC")
	}
	return Alert{
		Key: Mismatch + "/" + r.Source,
		Text: fmt.Sprintf("signatures of source %s match no configured key (deliveries refused in a row: %d, the last good one: %s). "+
			"If the key was rotated at Lumin, add the new one: Lumin repeats refused deliveries for 30 h 20 min; if Lumin's own deliveries succeed, someone else sends these.",
			r.Source, r.Refused, last),
		Page: "/sources",
	}
}
