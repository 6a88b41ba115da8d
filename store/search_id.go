package store

import (
	"cmp"
	"context"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
	"lumin-ingest/lumin"
)

// parseID returns the number that an id is, or -1, and the range of event keys that
// begin with the id. The range is empty if it is not the beginning of an event key.
func parseID(id string) (number int64, first, last [16]byte) {
	number, err := strconv.ParseInt(id, 10, 64)
	if err != nil || number < 0 {
		number = -1
	}
	const least = 4 // digits: fewer are in too many keys
	digits := strings.ReplaceAll(id, "-", "")
	if len(digits) < least || len(digits) > 2*len(first) {
		return number, [16]byte{1}, [16]byte{}
	}
	fill := func(with string) (key [16]byte, ok bool) {
		bytes, err := hex.DecodeString(digits + strings.Repeat(with, 2*len(key)-len(digits)))
		copy(key[:], bytes)
		return key, err == nil
	}
	first, ok := fill("0")
	if last, _ = fill("f"); !ok {
		return number, [16]byte{1}, [16]byte{}
	}
	return number, first, last
}

// The parts of a search for an id. Each is in the order of an index, so that the
// next page can begin where this one ended.
const (
	exactPart   = iota // events with this number, or whose job has it
	keyPart            // event keys that begin with the id
	requestPart        // signature requests that begin with the id
)

// searchIDSQL reads the first rows of the parts, and reports which of them match.
//
// Signature requests are found by a range that ends behind every id of ASCII letters
// and digits. In a collation of a language it also holds ids that begin otherwise:
// for A, those with a. So the number of rows is bounded before their beginning is
// compared. An event that is in two parts matches in the first.
const searchIDSQL = `
WITH job AS MATERIALIZED (
    SELECT lumin.run_key(j.args) AS event_key FROM lumin.river_job j WHERE j.id = @number
)
SELECT l.part, e.event_key, coalesce(e.signature_request_id, ''), coalesce(e.event_time, e.received_at), e.id,
    coalesce((l.part < 2 OR (starts_with(e.signature_request_id, @id) AND NOT (e.event_key >= @first::uuid AND e.event_key <= @last::uuid)))
      AND (l.part = 0 OR (e.id <> @number AND NOT EXISTS (SELECT FROM job WHERE job.event_key = e.event_key)))` + ofEventSQL + `
      AND (@any_run OR EXISTS (
          SELECT FROM (SELECT * FROM lumin.runs q WHERE q.event_key = e.event_key OFFSET 0) r WHERE true` + ofRunSQL + `)), false)
FROM (
    SELECT 0 AS part, e.id FROM lumin.events e WHERE @part = 0 AND e.id = @number
    UNION ALL
    SELECT 0, e.id FROM lumin.events e WHERE @part = 0 AND e.id <> @number AND e.event_key = (SELECT job.event_key FROM job)
    UNION ALL
    (SELECT 1, e.id FROM lumin.events e
     WHERE @part < 2 AND e.event_key >= @first::uuid AND e.event_key <= @last::uuid AND (e.event_key, e.id) < (@before_key::uuid, @before::bigint)
     ORDER BY e.event_key DESC, e.id DESC LIMIT @looks)
    UNION ALL
    (SELECT 2, e.id FROM lumin.events e
     WHERE e.signature_request_id >= @id
       AND (e.signature_request_id, e.event_time, e.id) < (@before_request::text, coalesce(@before_time::timestamptz, 'infinity'), @before::bigint)
     ORDER BY e.signature_request_id DESC, e.event_time DESC, e.id DESC LIMIT @looks)
) l CROSS JOIN LATERAL (SELECT * FROM lumin.events q WHERE q.id = l.id OFFSET 0) e
ORDER BY l.part, CASE l.part WHEN 1 THEN e.event_key END DESC,
    CASE l.part WHEN 2 THEN e.signature_request_id END DESC, CASE l.part WHEN 2 THEN e.event_time END DESC, e.id DESC
LIMIT @looks`

// lookedID is a row of this statement.
type lookedID struct {
	Part    int
	Key     [16]byte
	Request string
	At      time.Time
	ID      int64
	Matches bool
}

// after is where a page begins that follows this row.
func (l lookedID) after() *SearchPosition {
	switch l.Part {
	case exactPart:
		return &SearchPosition{Key: highestKey()}
	case keyPart:
		return &SearchPosition{Key: l.Key, ID: l.ID}
	}
	return &SearchPosition{Request: l.Request, At: l.At.UTC(), ID: l.ID}
}

// highestKey comes behind every event key: these have a version.
func highestKey() lumin.EventKey {
	return lumin.EventKey(slices.Repeat([]byte{0xff}, len(lumin.EventKey{})))
}

// searchByID looks for an id in the indexes.
func (s *Store) searchByID(ctx context.Context, f Search, from SearchPosition, limit int) (page SearchPage, err error) {
	args := f.idArgs(from)
	looked, err := query.Structs[lookedID](ctx, s.pool, "search an id", searchIDSQL, pgx.QueryExecModeCacheDescribe, args)
	if err != nil {
		return page, err
	}
	var found []EventPosition
	for i, row := range looked {
		if !row.Matches {
			continue
		}
		if len(found) >= limit && row.Part > exactPart {
			page.Next = looked[i-1].after()
			break
		}
		found = append(found, EventPosition{ID: row.ID})
	}
	if page.Next == nil && len(looked) == f.idLooks() {
		page.Next, page.Stopped = looked[len(looked)-1].after(), true
	}
	page.Events, err = s.newestByID(ctx, found)
	return page, err
}

// idLooks is how many rows a page looks at.
func (f Search) idLooks() int { return cmp.Or(f.looks, eventLooks) }

// idArgs are the parameters of searchIDSQL.
func (f Search) idArgs(from SearchPosition) pgx.NamedArgs {
	args := f.args()
	number, first, last := parseID(f.ID)
	args["id"], args["number"], args["first"], args["last"], args["looks"] = f.ID, number, first, last, f.idLooks()
	// The first page of each part begins behind every row.
	args["part"], args["before"], args["before_key"] = exactPart, 0, [16]byte(highestKey())
	args["before_request"], args["before_time"] = f.ID+"zzzzzzzzzz", (*time.Time)(nil)
	switch {
	case from.Request != "":
		args["part"], args["before_request"], args["before_time"], args["before"] = requestPart, from.Request, &from.At, from.ID
	case from.Key != (lumin.EventKey{}):
		args["part"], args["before_key"], args["before"] = keyPart, [16]byte(from.Key), from.ID
	}
	return args
}
