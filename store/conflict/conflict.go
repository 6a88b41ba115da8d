package conflict

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/query"
	"lumin-ingest/internal/redact"
	"lumin-ingest/lumin"
)

// Row is a conflict: a body that arrived with the event key of a stored event,
// and differs from the body of that event in more than details_url.
type Row struct {
	EventID            int64      `json:"event_id"` // of the body that came first
	Body               string     `json:"body"`     // SHA-256 of the other body, in hex; empty if it is not kept
	Source             string     `json:"source"`
	SignatureRequestID *string    `json:"signature_request_id"`
	EventType          *string    `json:"event_type"`
	EventTime          *time.Time `json:"event_time"`
	AnotherActor       bool       `json:"another_actor"`
	Count              int64      `json:"count"`
	FirstAt            time.Time  `json:"first_at"`
	LastAt             time.Time  `json:"last_at"`
	Decision           *string    `json:"decision"` // promoted or dismissed; nil if undecided
	DecidedAt          *time.Time `json:"decided_at"`
	DecidedBy          *string    `json:"decided_by"`
	Reason             *string    `json:"reason"`
	PromotedID         *int64     `json:"promoted_id"`
}

// Filter chooses conflicts to list. Zero fields match all conflicts.
type Filter struct {
	EventID            int64
	Source             string
	SignatureRequestID string
	AnotherActor       bool
	Undecided          bool
	Since              *time.Time // last delivered at or after this time
	After              Position   // only conflicts behind this place; zero for all
	Limit              int
}

// Position is the place of a conflict in a list.
type Position struct {
	LastAt  time.Time
	EventID int64
	Body    string
}

// Position is the place of the conflict in a list. A further delivery changes it.
func (r Row) Position() Position { return Position{r.LastAt, r.EventID, r.Body} }

const columns = `
    c.event_id, pg_catalog.encode(c.payload_sha256, 'hex'), c.source, c.signature_request_id, c.event_type, c.event_time,
    c.another_actor, c.count, c.first_at, c.last_at, c.decision, c.decided_at, c.decided_by, c.decision_reason, c.promoted_id`

// listSQL reads redeliveries_conflict_list_idx until the page is full. The index
// holds the columns of the filters, so conflicts that do not match are not looked up.
const listSQL = `
SELECT ` + columns + `
FROM (
    SELECT d.event_id, d.payload_sha256 FROM lumin.redeliveries d
    WHERE d.differs = 'content'
      AND (@event_id::bigint = 0 OR d.event_id = @event_id)
      AND (NOT @another_actor OR d.another_actor)
      AND (NOT @undecided OR d.decision IS NULL)
      AND (@since::timestamptz IS NULL OR d.last_at >= @since)
      AND (@request = '' OR d.event_id = ANY (ARRAY(SELECT e.id FROM lumin.events e WHERE e.signature_request_id = @request)))
      AND (@source = '' OR d.source = @source)
      AND (@after_event::bigint = 0 OR (
          (d.last_at, d.event_id) <= (@after_at::timestamptz, @after_event)
          AND ((d.last_at, d.event_id) <> (@after_at, @after_event) OR d.payload_sha256 > pg_catalog.decode(@after_body, 'hex'))))
    ORDER BY d.last_at DESC, d.event_id DESC, d.payload_sha256 LIMIT @limit
) p
JOIN lumin.conflicts c ON c.event_id = p.event_id AND c.payload_sha256 = p.payload_sha256
ORDER BY c.last_at DESC, c.event_id DESC, c.payload_sha256`

// List returns the conflicts that match, the last delivered first.
func List(ctx context.Context, pool *pgxpool.Pool, f Filter) ([]Row, error) {
	return query.Structs[Row](ctx, pool, "list conflicts", listSQL, pgx.QueryExecModeCacheDescribe, pgx.NamedArgs{
		"event_id": f.EventID, "source": f.Source, "request": f.SignatureRequestID,
		"another_actor": f.AnotherActor, "undecided": f.Undecided, "since": f.Since, "limit": f.Limit,
		"after_at": f.After.LastAt, "after_event": f.After.EventID, "after_body": f.After.Body,
	})
}

// Actors are the signers that the two bodies of a conflict name, as written
// there. They are personal data. A signer is empty if the body names none or
// was removed.
type Actors struct {
	First, Other string

	// WorkedID is the event that the runs of this event key were created from.
	// It is 0 if there are no runs.
	WorkedID int64
}

// ActorsOf reads the signers from the bodies of a conflict.
func ActorsOf(ctx context.Context, pool *pgxpool.Pool, c Row) (a Actors, err error) {
	var first, other []byte
	err = pool.QueryRow(ctx, `
		SELECT c.first_payload, c.other_payload,
		       coalesce((SELECT r.event_id FROM lumin.runs r WHERE r.event_key = c.event_key ORDER BY r.job_kind LIMIT 1), 0)
		FROM lumin.conflicts c WHERE c.event_id = $1 AND c.payload_sha256 = pg_catalog.decode($2, 'hex')`,
		c.EventID, c.Body).Scan(&first, &other, &a.WorkedID)
	if err != nil {
		return a, fmt.Errorf("read the bodies of a conflict of event %d: %w", c.EventID, err)
	}
	a.First, a.Other = lumin.SignerEmail(first), lumin.SignerEmail(other)
	return a, nil
}

// RefusedError is the reason why a decision about a conflict is refused, with a
// hint at the remedy.
type RefusedError struct{ Reason, Hint string }

func (e *RefusedError) Error() string { return e.Reason }

// Promote makes the other body of a conflict an event of its own and orders its
// runs, in one transaction. Repeated and simultaneous calls create one event
// and return its id. E-mail addresses are removed from the reason. The error may be
// a [*RefusedError].
func Promote(ctx context.Context, pool *pgxpool.Pool, c Row, reason, by string) (id int64, err error) {
	err = pool.QueryRow(ctx, `SELECT lumin.promote_conflict($1, $2, pg_catalog.decode($3, 'hex'), $4)`,
		c.EventID, redact.Text(reason), c.Body, by).Scan(&id)
	return id, refusal("promote", c, err)
}

// Dismiss records that a conflict needs no action. E-mail addresses are removed from
// the reason. The error may be a [*RefusedError].
func Dismiss(ctx context.Context, pool *pgxpool.Pool, c Row, reason, by string) error {
	_, err := pool.Exec(ctx, `SELECT lumin.dismiss_conflict($1, $2, pg_catalog.decode($3, 'hex'), $4)`,
		c.EventID, redact.Text(reason), c.Body, by)
	return refusal("dismiss", c, err)
}

func refusal(verb string, c Row, err error) error {
	var raised *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &raised) && raised.Code == pgerrcode.RaiseException:
		return &RefusedError{raised.Message, raised.Hint}
	}
	return fmt.Errorf("%s a conflict of event %d: %w", verb, c.EventID, err)
}

// UndecidedCounted is the largest number in [Undecided]: there may be more.
const UndecidedCounted = 10_000

// Undecided counts the conflicts that wait for a decision.
type Undecided struct {
	All int64

	// TwoSigners counts those between two signers: probably events without runs.
	TwoSigners int64
}

// undecidedSQL reads an index for each number.
const undecidedSQL = `
SELECT (SELECT count(*) FROM (SELECT FROM lumin.redeliveries WHERE differs = 'content' AND decision IS NULL LIMIT $1) a),
       (SELECT count(*) FROM (SELECT FROM lumin.redeliveries WHERE another_actor AND decision IS NULL LIMIT $1) t)`

// CountUndecided counts the conflicts that wait for a decision.
func CountUndecided(ctx context.Context, pool *pgxpool.Pool) (Undecided, error) {
	return query.Struct[Undecided](ctx, pool, "count conflicts", undecidedSQL, pgx.QueryExecModeCacheDescribe, UndecidedCounted)
}
