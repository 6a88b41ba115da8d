package operate

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
)

// Row is one row of the audit log.
type Row struct {
	ID         int64           `json:"id"`
	At         time.Time       `json:"at"`
	Actor      string          `json:"actor"`
	Via        string          `json:"via"`          // one of Vias
	From       string          `json:"from_address"` // empty if the change came through the database
	Action     string          `json:"action"`
	Subject    json.RawMessage `json:"subject"` // an object
	Reason     string          `json:"reason"`  // empty if none was given
	Outcome    string          `json:"outcome"` // done or failed; empty while it is in progress or if it is unknown
	FinishedAt *time.Time      `json:"finished_at"`
	Result     json.RawMessage `json:"result"` // an object
	Error      string          `json:"error"`  // empty unless the outcome is failed
}

// Filter chooses rows. Zero fields match all rows.
type Filter struct {
	Actor  string
	Action string
	Via    string
	Failed bool       // only changes that failed
	Since  *time.Time // inclusive
	Until  *time.Time // exclusive

	// Before continues a list: rows with lower ids, which are older. 0 begins at
	// the newest.
	Before int64

	Limit int // the most rows to return
}

// listSQL reads an index backwards: of the id, of the action or of the actor.
const listSQL = `
SELECT id, at, actor, via, from_address, action, subject, reason, coalesce(outcome, ''), finished_at, result, coalesce(error, '')
FROM lumin.audit_log
WHERE (@before::bigint = 0 OR id < @before)
  AND (@actor::text = '' OR actor = @actor)
  AND (@action::text = '' OR action = @action)
  AND (@via::text = '' OR via = @via)
  AND (NOT @failed::boolean OR outcome = 'failed')
  AND (@since::timestamptz IS NULL OR at >= @since)
  AND (@until::timestamptz IS NULL OR at < @until)
ORDER BY id DESC LIMIT @limit`

// List returns the rows that match, the newest first. The next page begins before
// the id of the last row.
func (o *Operator) List(ctx context.Context, f Filter) ([]Row, error) {
	// Without a prepared plan, the planner sees which filters are set.
	return query.Structs[Row](ctx, o.pool, "list the audit log", listSQL, pgx.QueryExecModeExec, pgx.NamedArgs{
		"before": f.Before, "actor": f.Actor, "action": f.Action, "via": f.Via, "failed": f.Failed,
		"since": f.Since, "until": f.Until, "limit": f.Limit,
	})
}
