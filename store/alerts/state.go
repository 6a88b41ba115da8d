package alerts

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/query"
)

const (
	// ReportEvery is how often a program has to repeat what it reports.
	ReportEvery = time.Minute

	// gone is how long after its last report a program counts as gone. It is not
	// known then whether what it reported still holds.
	gone = time.Hour

	// keptFor is how long resolved alerts stay in the table.
	keptFor = 7 * 24 * time.Hour
)

// An alert that ended a moment ago, and about whose end nothing was sent, goes on.
// One about which that was sent begins anew.
const upsertSQL = `
INSERT INTO lumin.alerts AS a (key, condition, text, page)
SELECT n.key, split_part(n.key, '/', 1), n.text, n.page FROM unnest($1::text[], $2::text[], $3::text[]) AS n (key, text, page)
ORDER BY n.key
ON CONFLICT (key) DO UPDATE
SET text = EXCLUDED.text, page = EXCLUDED.page, seen_at = now(), resolved_at = NULL, resolved_sent_at = NULL,
    since = CASE WHEN a.resolved_sent_at IS NULL THEN a.since ELSE now() END,
    sent_at = CASE WHEN a.resolved_sent_at IS NULL THEN a.sent_at END`

// resolveSQL resolves alerts. Nothing is sent about the end of one about which nothing
// was sent.
const resolveSQL = `
UPDATE lumin.alerts SET resolved_at = now(), resolved_sent_at = CASE WHEN sent_at IS NULL THEN now() END
WHERE resolved_at IS NULL AND `

// overSQL resolves alerts that are known to be over, and wholeSQL those of whole
// conditions that were not found.
const (
	overSQL  = resolveSQL + `key = ANY ($1::text[])`
	wholeSQL = resolveSQL + `condition = ANY ($1::text[]) AND key <> ALL ($2::text[])`
)

// dropSQL ends alerts that are no longer examined, or whose program is gone. Nothing
// is sent about that.
const dropSQL = `
UPDATE lumin.alerts SET resolved_at = now(), resolved_sent_at = now()
WHERE resolved_at IS NULL AND (key = ANY ($1::text[]) OR condition = $2 AND seen_at < now() - make_interval(secs => $3))`

const forgetSQL = `DELETE FROM lumin.alerts WHERE resolved_sent_at < now() - make_interval(secs => $1)`

// Report raises alerts that only a program itself can know of, and resolves those
// with the keys in over. The program has to repeat that within [ReportEvery].
func Report(ctx context.Context, pool *pgxpool.Pool, alerts []Alert, over []string) error {
	batch := &pgx.Batch{}
	batch.Queue(upsertSQL, columns(alerts)...)
	batch.Queue(overSQL, query.NotNull(over))
	if err := pool.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("report alerts: %w", err)
	}
	return nil
}

// Store stores what was found: it raises alerts, and resolves those that hold no
// longer.
func Store(ctx context.Context, pool *pgxpool.Pool, findings []Finding) error {
	var (
		raised                     []Alert
		keys, whole, over, dropped []string
	)
	for _, f := range findings {
		for _, a := range f.Alerts {
			raised, keys = append(raised, a), append(keys, a.Key)
		}
		over, dropped = append(over, f.Over...), append(dropped, f.Dropped...)
		if f.Err == nil && !f.Partly {
			whole = append(whole, f.Condition)
		}
	}
	err := pgx.BeginTxFunc(ctx, pool, query.ReadCommitted, func(tx pgx.Tx) error {
		batch := &pgx.Batch{}
		batch.Queue(upsertSQL, columns(raised)...)
		batch.Queue(dropSQL, query.NotNull(dropped), Certificate, gone.Seconds())
		batch.Queue(overSQL, query.NotNull(over))
		batch.Queue(wholeSQL, query.NotNull(whole), query.NotNull(keys))
		batch.Queue(forgetSQL, keptFor.Seconds())
		return tx.SendBatch(ctx, batch).Close()
	})
	if err != nil {
		return fmt.Errorf("store alerts: %w", err)
	}
	return nil
}

// columns returns the arguments of upsertSQL.
func columns(alerts []Alert) []any {
	keys, texts, pages := []string{}, []string{}, []string{}
	for _, a := range alerts {
		keys, texts, pages = append(keys, a.Key), append(texts, a.Text), append(pages, a.Page)
	}
	return []any{keys, texts, pages}
}

// openOf returns the open alerts of a condition, by key.
func (x *Examiner) openOf(ctx context.Context, condition string) (map[string]Open, error) {
	list, err := query.Rows(ctx, x.pool, "list the open alerts of "+condition, scanOpen, openSQL+`
		WHERE resolved_at IS NULL AND condition = $1`, condition)
	open := make(map[string]Open, len(list))
	for _, o := range list {
		open[o.Key] = o
	}
	return open, err
}

// List lists the alerts that hold, and those resolved within the given time, the
// newest first. 0 means only those that hold.
func List(ctx context.Context, pool *pgxpool.Pool, resolvedWithin time.Duration) ([]Open, error) {
	return query.Rows(ctx, pool, "list alerts", scanOpen, openSQL+`
		WHERE resolved_at IS NULL OR resolved_at > now() - make_interval(secs => $1)
		ORDER BY resolved_at IS NOT NULL, since DESC, key`, resolvedWithin.Seconds())
}

// openSQL selects what [scanOpen] reads.
const openSQL = `SELECT key, text, page, since, seen_at, sent_at, resolved_at FROM lumin.alerts`

func scanOpen(row pgx.CollectableRow) (o Open, err error) {
	err = row.Scan(&o.Key, &o.Text, &o.Page, &o.Since, &o.SeenAt, &o.SentAt, &o.ResolvedAt)
	if o.ResolvedAt != nil {
		o.Text = withoutAdvice(o.Text)
	}
	return o, err
}

// withoutAdvice leaves out the last of several sentences, which says what to do.
func withoutAdvice(text string) string {
	if end := strings.LastIndex(text, ". "); end >= 0 {
		return text[:end+1]
	}
	return text
}
