package store

import (
	"context"
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

	// Versions tells, by column, which event a field comes from. What it holds is
	// up to the job type that keeps the table.
	Versions map[string]string
}

// The update that changes nothing locks the row, so that two events of one
// signature request are merged one after the other.
const lockSignatureRequestSQL = `
INSERT INTO lumin.signature_requests AS s (signature_request_id) VALUES ($1)
ON CONFLICT (signature_request_id) DO UPDATE SET signature_request_id = s.signature_request_id
RETURNING signature_request_id, status, title, reason, signing_type, created_at, updated_at, expires_at,
          last_event_type, last_event_time, versions`

// LockSignatureRequest returns the row of a signature request, made if need be,
// and keeps it locked until tx ends.
func LockSignatureRequest(ctx context.Context, tx pgx.Tx, id string) (SignatureRequest, error) {
	var r SignatureRequest
	err := tx.QueryRow(ctx, lockSignatureRequestSQL, id).Scan(&r.ID, &r.Status, &r.Title, &r.Reason, &r.SigningType,
		&r.CreatedAt, &r.UpdatedAt, &r.ExpiresAt, &r.LastEventType, &r.LastEventTime, &r.Versions)
	if err != nil {
		return r, fmt.Errorf("lock signature request: %w", err)
	}
	return r, nil
}

const updateSignatureRequestSQL = `
UPDATE lumin.signature_requests
SET status = $2, title = $3, reason = $4, signing_type = $5, created_at = $6, updated_at = $7, expires_at = $8,
    last_event_type = $9, last_event_time = $10, versions = $11
WHERE signature_request_id = $1`

// UpdateSignatureRequest writes a row that tx holds locked.
func UpdateSignatureRequest(ctx context.Context, tx pgx.Tx, r SignatureRequest) error {
	_, err := tx.Exec(ctx, updateSignatureRequestSQL, r.ID, r.Status, r.Title, r.Reason, r.SigningType,
		r.CreatedAt, r.UpdatedAt, r.ExpiresAt, r.LastEventType, r.LastEventTime, r.Versions)
	if err != nil {
		return fmt.Errorf("update signature request: %w", err)
	}
	return nil
}
