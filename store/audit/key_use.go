package audit

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/query"
)

// KeyUse is how long a key has verified deliveries of a source.
type KeyUse struct {
	Source  string
	KeyID   string
	FirstAt time.Time
	LastAt  time.Time
}

// keyUseSQL jumps from one key to the next in the index. It reads a few entries
// for each key, whatever the number of events.
const keyUseSQL = `
WITH RECURSIVE used AS (
    (SELECT key_id, source FROM lumin.events WHERE key_id > '' ORDER BY key_id, source LIMIT 1)
    UNION ALL
    SELECT n.key_id, n.source
    FROM used u
    CROSS JOIN LATERAL (
        SELECT e.key_id, e.source FROM lumin.events e
        WHERE (e.key_id, e.source) > (u.key_id, u.source)
        ORDER BY e.key_id, e.source LIMIT 1
    ) n
)
SELECT u.source, u.key_id,
       (SELECT e.received_at FROM lumin.events e WHERE e.key_id = u.key_id AND e.source = u.source
        ORDER BY e.key_id, e.source, e.received_at LIMIT 1),
       (SELECT e.received_at FROM lumin.events e WHERE e.key_id = u.key_id AND e.source = u.source
        ORDER BY e.key_id DESC, e.source DESC, e.received_at DESC LIMIT 1)
FROM used u ORDER BY u.source, u.key_id`

// KeysUsed returns which keys the stored events were signed with, by source.
// Keys of removed events are not included, and recovered events have none.
func KeysUsed(ctx context.Context, pool *pgxpool.Pool) ([]KeyUse, error) {
	return query.Structs[KeyUse](ctx, pool, "list used keys", keyUseSQL, pgx.QueryExecModeCacheDescribe)
}
