package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// SignatureRequest is one row of lumin.signature_requests. Fields that no event
// has told yet are nil.
type SignatureRequest struct {
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

	// GoneAt is when a check found that Lumin no longer has the signature request;
	// nil: no check has.
	GoneAt *time.Time

	// Versions tells, by column, which event a field comes from. What it holds is
	// up to the job type that keeps the table.
	Versions map[string]string
}

// The update that changes nothing locks the row, so that two events of one
// signature request are merged one after the other.
const lockSignatureRequestSQL = `
INSERT INTO lumin.signature_requests AS s (signature_request_id) VALUES ($1)
ON CONFLICT (signature_request_id) DO UPDATE SET signature_request_id = s.signature_request_id
RETURNING ` + signatureRequestColumns

const signatureRequestColumns = `signature_request_id, status, title, reason, signing_type, created_at, updated_at, expires_at,
    last_event_type, last_event_time, gone_at, versions`

func scanSignatureRequest(row pgx.Row) (r SignatureRequest, err error) {
	err = row.Scan(&r.ID, &r.Status, &r.Title, &r.Reason, &r.SigningType,
		&r.CreatedAt, &r.UpdatedAt, &r.ExpiresAt, &r.LastEventType, &r.LastEventTime, &r.GoneAt, &r.Versions)
	return r, err
}

// LockSignatureRequest returns the row of a signature request, made if need be,
// and keeps it locked until tx ends.
func LockSignatureRequest(ctx context.Context, tx pgx.Tx, id string) (SignatureRequest, error) {
	r, err := scanSignatureRequest(tx.QueryRow(ctx, lockSignatureRequestSQL, id))
	if err != nil {
		return r, fmt.Errorf("lock signature request: %w", err)
	}
	return r, nil
}

const updateSignatureRequestSQL = `
UPDATE lumin.signature_requests
SET status = $2, title = $3, reason = $4, signing_type = $5, created_at = $6, updated_at = $7, expires_at = $8,
    last_event_type = $9, last_event_time = $10, gone_at = $11, versions = $12
WHERE signature_request_id = $1`

// UpdateSignatureRequest writes a row that tx holds locked.
func UpdateSignatureRequest(ctx context.Context, tx pgx.Tx, r SignatureRequest) error {
	_, err := tx.Exec(ctx, updateSignatureRequestSQL, r.ID, r.Status, r.Title, r.Reason, r.SigningType,
		r.CreatedAt, r.UpdatedAt, r.ExpiresAt, r.LastEventType, r.LastEventTime, r.GoneAt, r.Versions)
	if err != nil {
		return fmt.Errorf("update signature request: %w", err)
	}
	return nil
}

// openStatus is the condition of the index on checked_at: signature requests that
// are not finished and not known to be gone.
const openStatus = `(status IS NULL OR status NOT IN ('APPROVED', 'REJECTED', 'FAILED', 'CANCELLED')) AND gone_at IS NULL`

const uncheckedSQL = `
SELECT signature_request_id FROM lumin.signature_requests
WHERE ` + openStatus + ` AND (checked_at IS NULL OR checked_at < $1)
ORDER BY checked_at NULLS FIRST, signature_request_id LIMIT $2`

// UncheckedSignatureRequests lists signature requests that are neither finished nor
// gone, and whose state was not requested since a time. Signature requests that were
// never checked come first.
func (s *Store) UncheckedSignatureRequests(ctx context.Context, since time.Time, limit int) ([]string, error) {
	rows, err := s.pool.Query(ctx, uncheckedSQL, since, limit)
	if err != nil {
		return nil, fmt.Errorf("list open signature requests: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list open signature requests: %w", err)
	}
	return ids, nil
}

// The signature requests of the newest events suffice; they need not be the newest of
// all.
const newestSignatureRequestsSQL = `
SELECT signature_request_id
FROM (SELECT id, signature_request_id FROM lumin.events ORDER BY id DESC LIMIT 1000) e
WHERE signature_request_id IS NOT NULL AND NOT signature_request_id = ANY ($1)
  AND NOT EXISTS (SELECT FROM lumin.signature_requests s WHERE s.signature_request_id = e.signature_request_id AND s.gone_at IS NOT NULL)
GROUP BY signature_request_id
ORDER BY max(id) DESC LIMIT $2`

// NewestSignatureRequests lists signature requests of the newest events, finished
// ones included, except those given and those that are gone at Lumin.
func (s *Store) NewestSignatureRequests(ctx context.Context, except []string, limit int) ([]string, error) {
	rows, err := s.pool.Query(ctx, newestSignatureRequestsSQL, nonNil(except), limit)
	if err != nil {
		return nil, fmt.Errorf("list the newest signature requests: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list the newest signature requests: %w", err)
	}
	return ids, nil
}

// CheckSignatureRequest notes that the state of a signature request has been asked
// for at a time, and has compare look at its row, which is locked, and perhaps change
// it. Nothing happens if there is no such row any more.
func (s *Store) CheckSignatureRequest(ctx context.Context, id string, at time.Time, compare func(*SignatureRequest) (changed bool)) error {
	err := pgx.BeginTxFunc(ctx, s.pool, readCommitted, func(tx pgx.Tx) error {
		row, err := scanSignatureRequest(tx.QueryRow(ctx, `
			UPDATE lumin.signature_requests SET checked_at = $2 WHERE signature_request_id = $1 RETURNING `+signatureRequestColumns, id, at))
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil || !compare(&row) {
			return err
		}
		return UpdateSignatureRequest(ctx, tx, row)
	})
	if err != nil {
		return fmt.Errorf("check signature request: %w", err)
	}
	return nil
}
