package signaturerequest

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/query"
)

// Lack is a page of signature requests that may have had events which no source
// reported.
type Lack struct {
	IDs []string // in the order of the index

	// TooOld counts signature requests that were left out: their last change is
	// older than retention keeps events, so their events may have been stored
	// and removed.
	TooOld int

	// Next continues the list. It is empty at its end.
	Next string
}

// lackingSQL reads the next rows of the table and returns those that are open, or
// have ended without the event that reports the end. Without a limit on the rows
// that are read, it could read a large table in one statement to find nothing.
//
// OFFSET 0 keeps the look-ups of events look-ups by an index.
const lackingSQL = `
WITH r AS MATERIALIZED (
    SELECT signature_request_id AS id, status, gone_at, coalesce(updated_at, last_event_time) AS changed_at
    FROM lumin.signature_requests WHERE signature_request_id > $1
    ORDER BY signature_request_id LIMIT $2
), lacking AS MATERIALIZED (
    SELECT r.id, coalesce(r.changed_at < $3 AND r.status = ANY ($4), false) AS too_old FROM r
    WHERE r.gone_at IS NULL AND (r.status IS NULL OR r.status <> ALL ($4) OR EXISTS (
        SELECT FROM unnest($4::text[], $5::text[]) AS t (status, event_type)
        WHERE t.status = r.status AND NOT EXISTS (
            SELECT FROM lumin.events e WHERE e.signature_request_id = r.id AND e.event_type = t.event_type OFFSET 0)))
)
SELECT ARRAY(SELECT id FROM lacking WHERE NOT too_old ORDER BY id), (SELECT count(*) FROM lacking WHERE too_old),
       (SELECT count(*) FROM r), coalesce((SELECT max(id) FROM r), '')`

const (
	lackingWindow  = 2000 // rows that one statement reads
	lackingWindows = 50   // that one call reads
)

// Lacking lists signature requests that are open, or that have ended and lack one
// of the events in ends. It begins behind an id and returns at least limit ids,
// unless there are fewer in the next 100,000 rows. Signature requests that have ended
// and have not changed since a time are only counted. It leaves out those that are
// gone at Lumin.
func Lacking(ctx context.Context, pool *pgxpool.Pool, ends []End, after string, since time.Time, limit int) (l Lack, err error) {
	statuses, types := make([]string, len(ends)), make([]string, len(ends))
	for i, e := range ends {
		statuses[i], types[i] = e.Status, e.EventType
	}
	l.Next = after
	for range lackingWindows {
		var (
			ids       []string
			old, rows int
			last      string
		)
		err := pool.QueryRow(ctx, lackingSQL, l.Next, lackingWindow, since, statuses, types).Scan(&ids, &old, &rows, &last)
		if err != nil {
			return Lack{}, fmt.Errorf("list signature requests that lack events: %w", err)
		}
		l.IDs, l.TooOld, l.Next = append(l.IDs, ids...), l.TooOld+old, last
		if rows < lackingWindow {
			l.Next = ""
			return l, nil
		}
		if len(l.IDs) >= limit {
			break
		}
	}
	return l, nil
}

// End is an event that a signature request with a status must have had.
type End struct{ Status, EventType string }

// HasEvents reports whether any event is stored for a signature request.
func HasEvents(ctx context.Context, pool *pgxpool.Pool, id string) (has bool, err error) {
	err = pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM lumin.events WHERE signature_request_id = $1)`, id).Scan(&has)
	if err != nil {
		return false, fmt.Errorf("find the events of a signature request: %w", err)
	}
	return has, nil
}

// StoredTypes returns which of these event types are stored for a signature
// request, from whatever source.
func StoredTypes(ctx context.Context, pool *pgxpool.Pool, id string, types []string) ([]string, error) {
	return query.Column[string](ctx, pool, "find the events of a signature request", `
		SELECT DISTINCT e.event_type FROM lumin.events e WHERE e.signature_request_id = $1 AND e.event_type = ANY ($2)`, id, types)
}
