package alerts

import (
	"context"
	"fmt"
	"net/url"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/query"
	"lumin-ingest/store/audit"
)

const (
	// maxUndownloadable is the number of signature requests with an alert of their
	// own.
	maxUndownloadable = 20

	// approvedLimit bounds the approved contracts of a source that are examined: the
	// newest that are old enough.
	approvedLimit = 1000

	// undownloadablePrefix begins the keys of the alerts.
	undownloadablePrefix = Downloadable + "/"
)

// undownloadable is a contract that was approved, by a source that reports when
// contracts can be downloaded, and that cannot be downloaded yet.
type undownloadable struct {
	SignatureRequestID string
	Source             string
	Open               bool // it has an open alert
	Old                bool // it was approved more than a week ago
}

// Approved contracts are those of the last day, and those with an open alert. In
// Lumin's own example, downloadable comes 11.3 s after the approval. A source that
// never had a downloadable event may not be allowed to have one. OFFSET 0 makes each
// look-up a look-up.
const downloadableSQL = `
WITH sources AS MATERIALIZED (
    SELECT s.source FROM unnest($1::text[]) AS s (source)
    WHERE EXISTS (SELECT FROM lumin.events e WHERE e.event_type = 'signature_request_downloadable' AND e.source = s.source)
), approved AS (
    SELECT a.signature_request_id, s.source, a.received_at, false AS open
    FROM sources s CROSS JOIN LATERAL (
        SELECT e.signature_request_id, e.received_at FROM lumin.events e
        WHERE e.event_type = 'signature_request_approved' AND e.source = s.source
          AND e.received_at > now() - interval '25 hours' AND e.received_at < now() - interval '1 hour'
        ORDER BY e.event_type DESC, e.source DESC, e.received_at DESC NULLS LAST, e.id DESC LIMIT $2) a
    UNION ALL
    SELECT e.signature_request_id, e.source, e.received_at, true
    FROM lumin.alerts o CROSS JOIN LATERAL (
        SELECT v.signature_request_id, v.source, v.received_at FROM lumin.events v
        WHERE v.signature_request_id = substr(o.key, length($3) + 1) AND v.event_type = 'signature_request_approved' OFFSET 0) e
    WHERE o.condition = 'downloadable' AND o.resolved_at IS NULL
)
SELECT a.signature_request_id, min(a.source), bool_or(a.open), min(a.received_at) < now() - interval '7 days'
FROM approved a
WHERE NOT EXISTS (
    SELECT FROM lumin.events d
    WHERE d.signature_request_id = a.signature_request_id AND d.event_type = 'signature_request_downloadable' OFFSET 0)
GROUP BY a.signature_request_id
ORDER BY 3 DESC, min(a.received_at) DESC, 1`

// CountUndownloadable counts the contracts that were approved between an hour and 25
// hours ago, or have an open alert, and have no downloadable event. Only sources that
// have had such an event count, each with its newest 1,000 approved contracts.
func CountUndownloadable(ctx context.Context, pool *pgxpool.Pool) (n int64, err error) {
	missing, err := findUndownloadable(ctx, pool)
	for _, m := range missing {
		if !m.Old {
			n++
		}
	}
	return n, err
}

func findUndownloadable(ctx context.Context, pool *pgxpool.Pool) ([]undownloadable, error) {
	uses, err := audit.KeysUsed(ctx, pool)
	if err != nil {
		return nil, err
	}
	sources := []string{}
	for _, use := range uses { // a source with several keys counts as one
		if len(sources) == 0 || sources[len(sources)-1] != use.Source {
			sources = append(sources, use.Source)
		}
	}
	return query.Structs[undownloadable](ctx, pool, "find approved contracts that cannot be downloaded", downloadableSQL,
		pgx.QueryExecModeCacheDescribe, sources, approvedLimit, undownloadablePrefix)
}

// downloadedSQL finds out about open alerts that are not among these keys.
const downloadedSQL = `
SELECT o.key, EXISTS (
    SELECT FROM lumin.events d
    WHERE d.signature_request_id = substr(o.key, length($2) + 1) AND d.event_type = 'signature_request_downloadable' OFFSET 0)
FROM lumin.alerts o WHERE o.condition = 'downloadable' AND o.resolved_at IS NULL AND o.key <> ALL ($1::text[])
ORDER BY o.key`

// endedUndownloadable adds the open alerts that are not in the list of missing
// contracts. The approval of one that cannot be downloaded is no longer stored.
func (x *Examiner) endedUndownloadable(ctx context.Context, missing []undownloadable, f *Finding) error {
	keys := make([]string, len(missing))
	for i, m := range missing {
		keys[i] = undownloadablePrefix + m.SignatureRequestID
	}
	var (
		key  string
		over bool
	)
	return query.Each(ctx, x.pool, "find contracts that can be downloaded by now", []any{&key, &over}, func() error {
		if over {
			f.Over = append(f.Over, key)
		} else {
			f.Dropped = append(f.Dropped, key)
		}
		return nil
	}, downloadedSQL, pgx.QueryExecModeCacheDescribe, keys, undownloadablePrefix)
}

// downloadable finds contracts that were approved more than an hour ago and have no
// downloadable event.
func (x *Examiner) downloadable(ctx context.Context) (f Finding, err error) {
	missing, err := findUndownloadable(ctx, x.pool)
	if err != nil {
		return f, err
	}
	for _, m := range missing {
		switch {
		case m.Old:
			f.Dropped = append(f.Dropped, undownloadablePrefix+m.SignatureRequestID)
		case len(f.Alerts) < maxUndownloadable:
			f.Alerts = append(f.Alerts, Alert{
				Key: undownloadablePrefix + m.SignatureRequestID,
				Text: fmt.Sprintf("signature request %s (%s) was approved more than an hour ago, and Lumin has not reported that it can be downloaded. Ask Lumin if it stays so.",
					printable(m.SignatureRequestID), m.Source),
				Page: "/requests/" + url.PathEscape(m.SignatureRequestID),
			})
		default:
			f.Partly = true
		}
	}
	f.Reason = "every contract that was approved in the last day can be downloaded, or was approved within the last hour"
	err = x.endedUndownloadable(ctx, missing, &f)
	return f, err
}

// printable returns an id of Lumin's, which is opaque, so that it stays on its line.
func printable(id string) string {
	quoted := strconv.QuoteToASCII(id)
	return quoted[1 : len(quoted)-1]
}
