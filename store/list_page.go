package store

import (
	"strings"

	"github.com/jackc/pgx/v5"
)

// boundsSQL are the conditions of a filter besides its source, event type and
// signature request.
const boundsSQL = `
  AND (@since::timestamptz IS NULL OR e.received_at >= @since)
  AND (@until::timestamptz IS NULL OR e.received_at < @until)
  AND (@before::bigint = 0 OR (e.received_at, e.id) < (@before_at, @before))
  AND (@after::bigint = 0 OR (e.received_at, e.id) > (@after_at, @after))
  AND (@last::bigint = 0 OR e.id <= @last)`

// directSQL reads a page along the times of receipt, or all events of a signature
// request.
const directSQL = `SELECT e.id, e.received_at FROM lumin.events e` + matchesSQL

const matchesSQL = `
WHERE (@source = '' OR e.source = @source)
  AND (@type = '' OR e.event_type = @type)
  AND (@request = '' OR e.signature_request_id = @request)
  AND (NOT @unrecognized OR e.signature_request_id IS NULL)
  AND (NOT @late OR e.late)` + boundsSQL + `
ORDER BY e.received_at DESC, e.id DESC LIMIT @limit`

// lateSQL reads a page of late events. There are few, and they have an index of
// their own. Without OFFSET 0 the planner could search for them among all events.
const lateSQL = `SELECT e.id, e.received_at FROM (SELECT * FROM lumin.events WHERE late OFFSET 0) e` + matchesSQL

// Events of a source or of a type are read in the order of events_list_idx, which
// begins with the type and the source. A page is therefore merged from one page of
// each pair that matches. Its duration grows with the number of pairs, but with no
// number of events.
//
// The index has the order NULLS FIRST in received_at, which is never NULL. So no
// other index has the order of onePageSQL, and the planner cannot choose to search
// for a rare pair among all events.

// onePageSQL reads the page of one type and source.
func onePageSQL(ofType, source string) string {
	return `SELECT e.id, e.received_at FROM lumin.events e
WHERE ` + ofType + ` AND e.source = ` + source + boundsSQL + `
ORDER BY e.event_type DESC, e.source DESC, e.received_at DESC NULLS LAST, e.id DESC LIMIT @limit`
}

const unrecognizedType = `e.event_type IS NULL`

// ofTypeSQL merges the pages of all sources that have events of a type. The
// recursion jumps from one source to the next.
func ofTypeSQL(ofType string) string {
	return `WITH RECURSIVE s (source) AS (
    (SELECT e.source FROM lumin.events e WHERE ` + ofType + ` ORDER BY e.event_type, e.source LIMIT 1)
    UNION ALL
    SELECT (SELECT e.source FROM lumin.events e WHERE ` + ofType + ` AND e.source > s.source ORDER BY e.event_type, e.source LIMIT 1)
    FROM s WHERE s.source IS NOT NULL
)
SELECT p.* FROM s CROSS JOIN LATERAL (
` + onePageSQL(ofType, "s.source") + `
) p ORDER BY p.received_at DESC, p.id DESC LIMIT @limit`
}

// ofSourceSQL merges the pages of all types and of the unrecognized events of a
// source.
func ofSourceSQL() string {
	return `WITH RECURSIVE t (event_type) AS (
    (SELECT e.event_type FROM lumin.events e WHERE e.event_type IS NOT NULL ORDER BY e.event_type LIMIT 1)
    UNION ALL
    SELECT (SELECT e.event_type FROM lumin.events e WHERE e.event_type > t.event_type ORDER BY e.event_type LIMIT 1)
    FROM t WHERE t.event_type IS NOT NULL
)
SELECT p.* FROM t CROSS JOIN LATERAL (
` + onePageSQL(`e.event_type = t.event_type`, `@source`) + `
) p
UNION ALL (
` + onePageSQL(unrecognizedType, `@source`) + `
)
ORDER BY received_at DESC, id DESC LIMIT @limit`
}

// pageSQL selects the ids of a page of events and when they were received.
func (f EventFilter) pageSQL() string {
	page, ofType := directSQL, `e.event_type = @type`
	if f.Unrecognized {
		ofType = unrecognizedType
	}
	switch typed := f.EventType != "" || f.Unrecognized; {
	case f.SignatureRequestID != "":
	case f.Late:
		page = lateSQL
	case f.EventType != "" && f.Unrecognized:
	case typed && f.Source != "":
		page = onePageSQL(ofType, `@source`)
	case typed:
		page = ofTypeSQL(ofType)
	case f.Source != "":
		page = ofSourceSQL()
	}
	return page
}

// listSQL is the statement for a page of events.
func (f EventFilter) listSQL() string {
	sql := `SELECT ` + summaryColumns + `
FROM (
` + f.pageSQL() + `
) p JOIN lumin.events e ON e.id = p.id
ORDER BY e.received_at DESC, e.id DESC`
	if f.OldestFirst {
		sql = strings.NewReplacer("DESC NULLS LAST", "ASC NULLS FIRST", "DESC", "ASC").Replace(sql)
	}
	return sql
}

// listArgs are the parameters of listSQL.
func (f EventFilter) listArgs() pgx.NamedArgs {
	return pgx.NamedArgs{
		"source": f.Source, "type": f.EventType, "request": f.SignatureRequestID, "unrecognized": f.Unrecognized, "late": f.Late,
		"since": f.ReceivedSince, "until": f.ReceivedUntil,
		"before": f.Before.ID, "before_at": f.Before.ReceivedAt, "after": f.After.ID, "after_at": f.After.ReceivedAt,
		"last": f.lastID, "limit": f.Limit,
	}
}
