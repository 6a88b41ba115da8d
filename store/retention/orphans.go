package retention

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
)

// orphansSQL removes rows of a table whose event no longer exists, such as a
// run that was made while its event was deleted by hand.
func orphansSQL(table string) string {
	return `
WITH w AS MATERIALIZED (
    SELECT event_key FROM lumin.` + table + ` WHERE event_key > $1 AND event_key < $2 ORDER BY event_key LIMIT $3
), gone AS (
    DELETE FROM lumin.` + table + ` WHERE ctid = ANY (ARRAY(
        SELECT t.ctid FROM lumin.` + table + ` t
        WHERE t.event_key = ANY (ARRAY(
            SELECT w.event_key FROM w WHERE NOT EXISTS (SELECT FROM lumin.events e WHERE e.event_key = w.event_key OFFSET 0)))
        FOR UPDATE SKIP LOCKED))
    RETURNING 1
)
SELECT (SELECT count(*) FROM w), (SELECT count(*) FROM gone), w.event_key FROM w ORDER BY w.event_key DESC LIMIT 1`
}

// orphansPage removes the orphans in the next page of the step's table. An
// event key begins with the time of its event, so it is the age of an orphan.
func orphansPage(ctx context.Context, tx pgx.Tx, s *step) (page, error) {
	p := page{last: s.at}
	var n int64
	err := query.Each(ctx, tx, "remove "+s.table+" without events", []any{&p.read, &n, &p.last.key}, func() error { return nil },
		orphansSQL(s.table), pgx.QueryExecModeCacheDescribe, s.at.key, firstKey(s.events), s.pageSize)
	if err != nil {
		return page{last: s.at}, err
	}
	if s.table == "runs" {
		p.removed.Runs = n
	}
	return p, nil
}

// firstKey is the lowest event key that an event of this time can have.
func firstKey(at time.Time) (key [16]byte) {
	var millis [8]byte
	binary.BigEndian.PutUint64(millis[:], uint64(max(at.UnixMilli(), 0)))
	copy(key[:6], millis[2:])
	return key
}
