package erasure

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/query"
)

// findings are the signature requests and unrecognized events in which a word
// was found.
type findings struct {
	mention      *mention
	requests     map[string]bool
	unrecognized map[int64]bool // event ids
}

// note searches a text of an event or of a signature request.
func (f *findings) note(eventID int64, request *string, text []byte) {
	switch {
	case request != nil && f.requests[*request], request == nil && f.unrecognized[eventID]:
		// Already found.
	case !f.mention.contains(text):
	case request != nil:
		f.requests[*request] = true
	default:
		f.unrecognized[eventID] = true
	}
}

const (
	searchEventsSQL = `
SELECT e.id, e.signature_request_id, e.payload FROM lumin.events e
WHERE e.id > $1 AND e.id <= $2 AND e.payload IS NOT NULL AND (NOT $3 OR e.signature_request_id IS NULL)
ORDER BY e.id LIMIT 1000`

	searchRedeliveriesSQL = `
SELECT d.event_id, e.signature_request_id, d.payload
FROM lumin.redeliveries d JOIN lumin.events e ON e.id = d.event_id
WHERE d.event_id > $1 AND d.event_id <= $2 AND d.payload IS NOT NULL AND (NOT $3 OR e.signature_request_id IS NULL)
ORDER BY d.event_id FETCH FIRST 1000 ROWS WITH TIES`

	// Titles and reasons outlive the bodies that they come from.
	searchProjectionSQL = `
SELECT 0::bigint, s.signature_request_id, convert_to(concat_ws(' ', s.title, s.reason), 'UTF8')
FROM lumin.signature_requests s
WHERE s.signature_request_id > $1 AND NOT $2
ORDER BY s.signature_request_id LIMIT 1000`
)

// search finds the signature requests and unrecognized events of a subject,
// among the events up to last. It reads page by page and holds one body at a
// time. If the subject is a signature request, only unrecognized events are
// searched: all others name their signature request in a column.
func search(ctx context.Context, pool *pgxpool.Pool, subject Subject, last int64, report func(searched, last int64)) (*findings, error) {
	found := &findings{requests: map[string]bool{}, unrecognized: map[int64]bool{}}
	for _, id := range subject.SignatureRequestIDs {
		found.requests[id] = true
	}
	unrecognizedOnly := subject.Email == ""
	for _, found.mention = range subject.mentions() {
		for _, sql := range []string{searchEventsSQL, searchRedeliveriesSQL} {
			for after, more := int64(0), true; more; {
				id, _, n, err := searchPage(ctx, pool, found, sql, after, last, unrecognizedOnly)
				if err != nil {
					return nil, err
				}
				if after, more = id, n > 0; more {
					report(after, last)
				}
			}
		}
		for after, more := "", true; more; {
			_, request, n, err := searchPage(ctx, pool, found, searchProjectionSQL, after, unrecognizedOnly)
			if err != nil {
				return nil, err
			}
			after, more = request, n > 0
		}
	}
	return found, nil
}

// searchPage searches the texts of one page. It returns the last event and
// signature request, and the number of texts.
func searchPage(ctx context.Context, pool *pgxpool.Pool, f *findings, sql string, args ...any) (id int64, request string, n int, err error) {
	var (
		of   *string
		text pgtype.DriverBytes // belongs to the connection and is valid until the next row
	)
	err = query.Each(ctx, pool, "search", []any{&id, &of, &text}, func() error {
		n++
		if of != nil {
			request = *of
		}
		f.note(id, of, text)
		return nil
	}, sql, append([]any{pgx.QueryExecModeCacheDescribe}, args...)...)
	if err != nil {
		return 0, "", 0, err
	}
	return id, request, n, nil
}
