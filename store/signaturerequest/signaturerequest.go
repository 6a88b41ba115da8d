package signaturerequest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/query"
)

// Row is one row of lumin.signature_requests. Fields that no event has set are
// nil.
type Row struct {
	ID            string
	Status        *string
	Title         *string
	Reason        *string
	SigningType   *string
	CreatedAt     *time.Time
	UpdatedAt     *time.Time
	ExpiresAt     *time.Time
	LastEventType *string
	LastEventTime *time.Time

	// GoneAt is the time at which a check found that Lumin no longer has the
	// signature request. It is nil if no check has.
	GoneAt *time.Time

	// Versions says, by column, which event a field comes from. Its format is
	// that of the job type signature_request_state.
	Versions map[string]string
}

// The update changes nothing but locks the row, so that two events of one
// signature request are merged one after the other.
const lockSQL = `
INSERT INTO lumin.signature_requests AS s (signature_request_id) VALUES ($1)
ON CONFLICT (signature_request_id) DO UPDATE SET signature_request_id = s.signature_request_id
RETURNING ` + columns

const columns = `signature_request_id, status, title, reason, signing_type, created_at, updated_at, expires_at,
    last_event_type, last_event_time, gone_at, versions`

func scan(row pgx.Row) (r Row, err error) {
	err = row.Scan(&r.ID, &r.Status, &r.Title, &r.Reason, &r.SigningType,
		&r.CreatedAt, &r.UpdatedAt, &r.ExpiresAt, &r.LastEventType, &r.LastEventTime, &r.GoneAt, &r.Versions)
	return r, err
}

// Lock returns the row of a signature request and keeps it locked until tx
// ends. It inserts a missing row.
func Lock(ctx context.Context, tx pgx.Tx, id string) (Row, error) {
	r, err := scan(tx.QueryRow(ctx, lockSQL, id))
	if err != nil {
		return r, fmt.Errorf("lock signature request: %w", err)
	}
	return r, nil
}

const updateSQL = `
UPDATE lumin.signature_requests
SET status = $2, title = $3, reason = $4, signing_type = $5, created_at = $6, updated_at = $7, expires_at = $8,
    last_event_type = $9, last_event_time = $10, gone_at = $11, versions = $12
WHERE signature_request_id = $1`

// Update writes a row that tx has locked.
func Update(ctx context.Context, tx pgx.Tx, r Row) error {
	_, err := tx.Exec(ctx, updateSQL, r.ID, r.Status, r.Title, r.Reason, r.SigningType,
		r.CreatedAt, r.UpdatedAt, r.ExpiresAt, r.LastEventType, r.LastEventTime, r.GoneAt, r.Versions)
	if err != nil {
		return fmt.Errorf("update signature request: %w", err)
	}
	return nil
}

// openStatus is the condition of the index on checked_at: signature requests
// that are not finished and not known to be gone.
const openStatus = `(status IS NULL OR status NOT IN ('APPROVED', 'REJECTED', 'FAILED', 'CANCELLED')) AND gone_at IS NULL`

const uncheckedSQL = `
SELECT signature_request_id FROM lumin.signature_requests
WHERE ` + openStatus + ` AND (checked_at IS NULL OR checked_at < $1)
ORDER BY checked_at NULLS FIRST, signature_request_id LIMIT $2`

// Unchecked lists signature requests that are neither finished nor gone, and
// whose state was not requested since a time. Signature requests that were
// never checked come first.
func Unchecked(ctx context.Context, pool *pgxpool.Pool, since time.Time, limit int) ([]string, error) {
	return query.Column[string](ctx, pool, "list open signature requests", uncheckedSQL, since, limit)
}

// The signature requests of the newest events suffice; they need not be the
// newest of all.
const newestSQL = `
SELECT signature_request_id
FROM (SELECT id, signature_request_id FROM lumin.events ORDER BY id DESC LIMIT 1000) e
WHERE signature_request_id IS NOT NULL AND NOT signature_request_id = ANY ($1)
  AND NOT EXISTS (SELECT FROM lumin.signature_requests s WHERE s.signature_request_id = e.signature_request_id AND s.gone_at IS NOT NULL)
GROUP BY signature_request_id
ORDER BY max(id) DESC LIMIT $2`

// Newest lists signature requests of the newest events, finished
// ones included, except those given and those that are gone at Lumin.
func Newest(ctx context.Context, pool *pgxpool.Pool, except []string, limit int) ([]string, error) {
	return query.Column[string](ctx, pool, "list the newest signature requests", newestSQL, query.NotNull(except), limit)
}

// Check stores that the state of a signature request was requested at a time.
// It locks the row and calls compare, which may change it. If the row no longer
// exists, nothing happens.
func Check(ctx context.Context, pool *pgxpool.Pool, id string, at time.Time, compare func(*Row) (changed bool)) error {
	err := pgx.BeginTxFunc(ctx, pool, query.ReadCommitted, func(tx pgx.Tx) error {
		row, err := scan(tx.QueryRow(ctx, `
			UPDATE lumin.signature_requests SET checked_at = $2 WHERE signature_request_id = $1 RETURNING `+columns, id, at))
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil || !compare(&row) {
			return err
		}
		return Update(ctx, tx, row)
	})
	if err != nil {
		return fmt.Errorf("check signature request: %w", err)
	}
	return nil
}

// Find returns the row of a signature request, or false if there is none.
func Find(ctx context.Context, pool *pgxpool.Pool, id string) (r Row, found bool, err error) {
	r, err = scan(pool.QueryRow(ctx, `SELECT `+columns+` FROM lumin.signature_requests WHERE signature_request_id = $1`, id))
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return r, false, nil
	case err != nil:
		return r, false, fmt.Errorf("load signature request: %w", err)
	}
	return r, true, nil
}
