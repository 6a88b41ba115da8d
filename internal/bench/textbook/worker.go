package textbook

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"lumin-ingest/lumin"
)

// eventArgs names the event of a job.
type eventArgs struct {
	ID int64 `json:"id"`
}

// Kind implements river.JobArgs.
func (eventArgs) Kind() string { return "event" }

// worker does the effect of an event and completes its job in one transaction.
type worker struct {
	river.WorkerDefaults[eventArgs]
	pool   *pgxpool.Pool
	effect string // state or row
}

// Work implements river.Worker.
func (w *worker) Work(ctx context.Context, job *river.Job[eventArgs]) error {
	return pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
		var key, request, eventType string
		var payload []byte
		err := tx.QueryRow(ctx, `SELECT event_key::text, signature_request_id, event_type, payload FROM public.events WHERE id = $1`, job.Args.ID).
			Scan(&key, &request, &eventType, &payload)
		if err != nil {
			return err
		}
		if w.effect == "row" {
			_, err = tx.Exec(ctx, `INSERT INTO public.effects (event_key) VALUES ($1)`, key)
		} else {
			err = keepState(ctx, tx, payload)
		}
		if err != nil {
			return err
		}
		_, err = river.JobCompleteTx[*riverpgxv5.Driver](ctx, tx, job)
		return err
	})
}

// upsertState keeps the newest state of a signature request in one statement.
const upsertState = `INSERT INTO public.signature_requests AS s
    (signature_request_id, status, title, reason, signing_type, created_at, updated_at, expires_at, last_event_type, last_event_time)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (signature_request_id) DO UPDATE SET
    status = coalesce(excluded.status, s.status), title = coalesce(excluded.title, s.title), reason = coalesce(excluded.reason, s.reason),
    signing_type = coalesce(excluded.signing_type, s.signing_type), created_at = coalesce(excluded.created_at, s.created_at),
    updated_at = coalesce(excluded.updated_at, s.updated_at), expires_at = coalesce(excluded.expires_at, s.expires_at),
    last_event_type = excluded.last_event_type, last_event_time = excluded.last_event_time
WHERE s.last_event_time <= excluded.last_event_time`

func keepState(ctx context.Context, tx pgx.Tx, payload []byte) error {
	e, err := lumin.DecodeEnvelope(payload)
	if err != nil {
		return err
	}
	r, err := lumin.DecodeSignatureRequest(payload)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, upsertState, e.SignatureRequestID, (*string)(r.Status), r.Title, r.Reason, r.SigningType,
		r.CreatedAt, r.UpdatedAt, r.ExpiresAt, string(e.EventType), e.EventTime)
	return err
}
