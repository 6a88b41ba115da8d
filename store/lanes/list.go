package lanes

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/query"
)

// Lane is one signature request of one ordered job type that has unfinished runs.
type Lane struct {
	Kind               string `json:"job_kind"`
	SignatureRequestID string `json:"signature_request_id"`

	// The head is the first unfinished run.
	HeadEventID   int64      `json:"head_event_id"`
	HeadKey       string     `json:"head_event_key"`
	HeadEventType string     `json:"head_event_type"`
	HeadEventTime time.Time  `json:"head_event_time"`
	HeadState     string     `json:"head_state"`      // queued, running, retrying, parked or failed
	HeadAttempts  int        `json:"head_attempts"`   // attempts of the head so far
	NextAttempt   *time.Time `json:"next_attempt_at"` // of the head; nil unless it waits for one

	Waiting int64      `json:"waiting"`     // parked runs
	Since   *time.Time `json:"since"`       // the lane is held, or a run is parked, since then; nil if neither
	Age     float64    `json:"age_seconds"` // time since then, by the database's clock

	HeldBy    *int64     `json:"held_by"`    // the event of the failed head; nil if the lane is not held
	HeldSince *time.Time `json:"held_since"` // when it failed
	Error     string     `json:"error"`      // of the head's last failed attempt; empty if none has failed
}

// Held reports whether a failed run holds the lane.
func (l Lane) Held() bool { return l.HeldBy != nil }

// Filter chooses lanes. Empty fields choose all.
type Filter struct {
	Kinds              []string
	SignatureRequestID string
	Held               bool // only lanes that a failed run holds
	Limit              int  // the most lanes to list
}

// laneSQL selects lanes l with the state of their heads. It starts from the
// columns of the view lumin.lanes.
const laneSQL = `
SELECT l.job_kind, l.signature_request_id, l.head_event_id, l.head_event_key::text, l.head_event_type, l.head_event_time,
       s.status, s.attempts, s.next_attempt_at, l.waiting, l.since, coalesce(extract(epoch FROM now() - l.since), 0)::float8,
       l.held_by, l.held_since, coalesce(s.error, '')
FROM (
    %s
) l
CROSS JOIN LATERAL (
    SELECT * FROM lumin.event_status q WHERE q.event_id = l.head_event_id AND q.job_kind = l.job_kind OFFSET 0
) s`

// listSQL reads the view once: its heads are looked up for the listed lanes only
// after the limit. OFFSET 0: see recordSQL in package store.
const listSQL = `
    SELECT v.*, least(v.waiting_since, v.held_since) AS since
    FROM lumin.lanes v
    WHERE (cardinality($1::text[]) = 0 OR v.job_kind = ANY ($1))
      AND ($2 = '' OR v.signature_request_id = $2)
      AND (NOT $3 OR v.held_by IS NOT NULL)
    ORDER BY since, v.job_kind, v.signature_request_id LIMIT $4`

// List lists lanes in which runs wait or which are held, the longest wait first.
func List(ctx context.Context, pool *pgxpool.Pool, f Filter) ([]Lane, error) {
	return query.Structs[Lane](ctx, pool, "list lanes", fmt.Sprintf(laneSQL, listSQL)+` ORDER BY l.since, l.job_kind, l.signature_request_id`,
		pgx.QueryExecModeCacheDescribe, query.NotNull(f.Kinds), f.SignatureRequestID, f.Held, f.Limit)
}

// findSQL is the lane of one signature request, even if only its head is
// unfinished.
const findSQL = `
    SELECT r.job_kind, e.signature_request_id, r.event_id AS head_event_id, r.event_key AS head_event_key,
           e.event_type AS head_event_type, e.event_time AS head_event_time,
           count(*) FILTER (WHERE r.state = 'parked') OVER () AS waiting,
           CASE WHEN r.state = 'failed' THEN r.event_id END AS held_by,
           CASE WHEN r.state = 'failed' THEN r.finished_at END AS held_since,
           least(min(r.pending_since) FILTER (WHERE r.state = 'parked') OVER (), r.finished_at) AS since
    FROM lumin.job_types t
    JOIN lumin.events e ON e.signature_request_id = $2
    JOIN lumin.runs r ON r.event_key = e.event_key AND r.job_kind = t.kind AND r.event_id = e.id
    WHERE t.kind = $1 AND t.when_failed IS NOT NULL
      AND (r.state IN ('pending', 'parked') OR (r.state = 'failed' AND t.when_failed = 'hold'))
    ORDER BY e.event_time, e.event_key LIMIT 1`

// ErrNoLane means that no run of the lane is unfinished.
var ErrNoLane = errors.New("no event of this signature request waits")

// Find returns the lane of one signature request. Unlike [List] it also finds a
// lane with only one unfinished run. The error is ErrNoLane if there is none.
func Find(ctx context.Context, pool *pgxpool.Pool, kind, signatureRequestID string) (Lane, error) {
	lane, err := query.Struct[Lane](ctx, pool, "find lane", fmt.Sprintf(laneSQL, findSQL), pgx.QueryExecModeCacheDescribe, kind, signatureRequestID)
	if errors.Is(err, pgx.ErrNoRows) {
		return lane, ErrNoLane
	}
	return lane, err
}
