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
	HeadEventType string     `json:"head_event_type"`
	HeadEventTime time.Time  `json:"head_event_time"`
	HeadState     string     `json:"head_state"`      // queued, running, retrying, parked or failed
	HeadAttempts  int        `json:"head_attempts"`   // attempts of the head so far
	NextAttempt   *time.Time `json:"next_attempt_at"` // of the head; nil unless it waits for one

	Waiting int64      `json:"waiting"`     // parked runs
	Since   *time.Time `json:"since"`       // when the lane became held, or else when its oldest parked run was parked; nil if neither
	Age     float64    `json:"age_seconds"` // time since then, by the database's clock

	// A failed run holds the lane. It is the head, unless an earlier event has
	// arrived since. All are zero if the lane is not held.
	HeldBy    *int64     `json:"held_by"` // its event
	HeldKey   *string    `json:"held_by_event_key"`
	HeldSince *time.Time `json:"held_since"` // when it failed

	Error string `json:"error"` // of the run that holds the lane, or else of the head; empty if it has none
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

// laneSQL looks up the unfinished runs of lanes l, each by index. It has the
// statement that selects the lanes in the middle.
const laneSQL = `
SELECT l.job_kind, l.signature_request_id, u.head_event_id, s.event_type, s.event_time, s.status, s.attempts, s.next_attempt_at,
       u.waiting, q.since, coalesce(extract(epoch FROM now() - q.since), 0)::float8,
       h.event_id, h.event_key::text, h.finished_at, coalesce(h.error, s.error, '')
FROM (
    %s
) l
CROSS JOIN LATERAL (
    SELECT (array_agg(e.id ORDER BY e.event_time, e.event_key))[1] AS head_event_id,
           (array_agg(e.event_key ORDER BY e.event_time, e.event_key) FILTER (WHERE r.state = 'failed'))[1] AS held_by,
           count(*) FILTER (WHERE r.state = 'parked') AS waiting,
           min(r.pending_since) FILTER (WHERE r.state = 'parked') AS parked_since
    FROM lumin.events e
    JOIN lumin.runs r ON r.event_key = e.event_key AND r.job_kind = l.job_kind AND r.event_id = e.id
    WHERE e.signature_request_id = l.signature_request_id
      AND (r.state IN ('pending', 'parked') OR (r.state = 'failed' AND l.when_failed = 'hold'))
    OFFSET 0
) u
CROSS JOIN LATERAL (
    SELECT * FROM lumin.event_status v WHERE v.event_id = u.head_event_id AND v.job_kind = l.job_kind OFFSET 0
) s
LEFT JOIN lumin.runs h ON h.event_key = u.held_by AND h.job_kind = l.job_kind
CROSS JOIN LATERAL (SELECT coalesce(h.finished_at, u.parked_since) AS since) q
ORDER BY q.since, l.job_kind, l.signature_request_id`

// waitingSQL selects lanes with the fewest look-ups: those of other lanes than
// the listed ones would take most of the time. The view lumin.lanes makes them
// for every lane.
const waitingSQL = `
    SELECT w.job_kind, w.when_failed, e.signature_request_id
    FROM (
        SELECT r.job_kind, t.when_failed, r.event_id, NULL AS held_since, r.pending_since AS parked_since
        FROM lumin.runs r JOIN lumin.job_types t ON t.kind = r.job_kind
        WHERE r.state = 'parked' AND t.when_failed IS NOT NULL AND NOT $3::boolean
        UNION ALL
        SELECT r.job_kind, t.when_failed, r.event_id, r.finished_at, NULL
        FROM lumin.runs r JOIN lumin.job_types t ON t.kind = r.job_kind
        WHERE r.state = 'failed' AND t.when_failed = 'hold'
    ) w
    JOIN lumin.events e ON e.id = w.event_id
    WHERE (cardinality($1::text[]) = 0 OR w.job_kind = ANY ($1)) AND ($2::text = '' OR e.signature_request_id = $2)
    GROUP BY w.job_kind, w.when_failed, e.signature_request_id
    ORDER BY coalesce(min(w.held_since), min(w.parked_since)), w.job_kind, e.signature_request_id LIMIT $4`

// List lists lanes in which runs wait or which are held. The one that has been
// held, or has waited, the longest comes first.
func List(ctx context.Context, pool *pgxpool.Pool, f Filter) ([]Lane, error) {
	return query.Structs[Lane](ctx, pool, "list lanes", fmt.Sprintf(laneSQL, waitingSQL), pgx.QueryExecModeCacheDescribe,
		query.NotNull(f.Kinds), f.SignatureRequestID, f.Held, f.Limit)
}

const oneSQL = `SELECT t.kind AS job_kind, t.when_failed, $2::text AS signature_request_id FROM lumin.job_types t WHERE t.kind = $1 AND t.when_failed IS NOT NULL`

// ErrNoLane means that no run of the lane is unfinished.
var ErrNoLane = errors.New("no event of this signature request waits")

// Find returns the lane of one signature request. Unlike [List] it also finds a
// lane with only one unfinished run. The error is ErrNoLane if there is none.
func Find(ctx context.Context, pool *pgxpool.Pool, kind, signatureRequestID string) (Lane, error) {
	lane, err := query.Struct[Lane](ctx, pool, "find lane", fmt.Sprintf(laneSQL, oneSQL), pgx.QueryExecModeCacheDescribe, kind, signatureRequestID)
	if errors.Is(err, pgx.ErrNoRows) {
		return lane, ErrNoLane
	}
	return lane, err
}
