package erasure

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/query"
	"lumin-ingest/internal/redact"
	"lumin-ingest/store"
)

// Order is one row of lumin.erasures.
type Order struct {
	ID                  int64    `json:"id"`
	Subject             string   `json:"subject"`
	SignatureRequestIDs []string `json:"signature_request_ids"`
	EventIDs            []int64  `json:"event_ids"`
	LastEventID         int64    `json:"last_event_id"`
	Counts
	ErasedBy   string     `json:"erased_by"`
	Reason     string     `json:"reason"`
	CreatedAt  time.Time  `json:"created_at"`
	FinishedAt *time.Time `json:"finished_at"` // nil until all data is erased

	// FilesLeft counts archived files that are still in their bucket. A program
	// that has this bucket removes them.
	FilesLeft int64 `json:"files_left"`
}

// Order stores the plan with a reason and the name of the person who erases. If
// by is empty, the name is the database role. From then on the plan is carried
// out, by [CarryOut] or by a running worker. E-mail addresses are removed from
// reason.
func (p Plan) Order(ctx context.Context, pool *pgxpool.Pool, reason, by string) (id int64, err error) {
	err = pool.QueryRow(ctx, `
		INSERT INTO lumin.erasures (subject, signature_request_ids, event_ids, last_event_id, reason, erased_by, order_token)
		VALUES ($1, coalesce($2::text[], '{}'), coalesce($3::bigint[], '{}'), $4, $5, coalesce(nullif($6, ''), current_user), nullif($7, '')::uuid)
		ON CONFLICT (order_token) WHERE order_token IS NOT NULL DO NOTHING RETURNING id`,
		p.Subject, p.SignatureRequestIDs, p.EventIDs, p.LastEventID, redact.Text(reason), by, p.Token).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		err = pool.QueryRow(ctx, `SELECT id FROM lumin.erasures WHERE order_token = nullif($1, '')::uuid`, p.Token).Scan(&id)
	}
	if err != nil {
		return 0, fmt.Errorf("order erasure: %w", err)
	}
	return id, nil
}

// Load returns one order. The error is [store.ErrNotFound] if no order has this
// id.
func Load(ctx context.Context, pool *pgxpool.Pool, id int64) (Order, error) {
	call := fmt.Sprintf("load erasure %d", id)
	o, err := query.Row(ctx, pool, call, func(row pgx.CollectableRow) (o Order, err error) {
		return o, row.Scan(&o.ID, &o.Subject, &o.SignatureRequestIDs, &o.EventIDs, &o.LastEventID, &o.Bodies, &o.Redeliveries, &o.Errors,
			&o.RunsCancelled, &o.Files, &o.ErasedBy, &o.Reason, &o.CreatedAt, &o.FinishedAt, &o.FilesLeft)
	}, `
		SELECT id, subject, signature_request_ids, event_ids, last_event_id, bodies, redeliveries, errors, runs_cancelled, files,
		       erased_by, reason, created_at, finished_at, (SELECT count(*) FROM lumin.archived_files WHERE erasure_id = $1)
		FROM lumin.erasures WHERE id = $1`, id)
	if errors.Is(err, pgx.ErrNoRows) {
		err = fmt.Errorf("%s: %w", call, store.ErrNotFound)
	}
	return o, err
}

// Unfinished returns the ids of the orders that are not finished.
func Unfinished(ctx context.Context, pool *pgxpool.Pool) ([]int64, error) {
	return query.Column[int64](ctx, pool, "find unfinished erasures", `SELECT id FROM lumin.erasures WHERE finished_at IS NULL ORDER BY id`)
}
