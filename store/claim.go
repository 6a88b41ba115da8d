package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/cleanpool"
	"lumin-ingest/internal/query"
	"lumin-ingest/lumin"
)

// Reasons not to work on a run, returned by [Store.ClaimTx] and
// [Store.ReadRun].
var (
	ErrRunSettled = errors.New("the run is settled or belongs to a later replay")
	ErrRunLocked  = errors.New("the run is being worked on")
	ErrEventGone  = errors.New("the event of the run is gone, or its body has been erased")
)

// Attempt is one attempt of a River job at a run.
type Attempt struct {
	JobArgs
	JobID  int64
	Number int // from 1
}

// A job may act on a run unless the run has succeeded or belongs to a later
// replay. This makes replay_id a fencing token.
const actsOnRun = `r.event_key = $1 AND r.job_kind = $2
      AND r.replay_id <= $3 AND (r.state <> 'succeeded' OR r.replay_id < $3)`

// claimSQL marks the run succeeded before the job type's code runs, in the same
// transaction. Effect and mark therefore commit together, even if the code
// itself sends COMMIT.
//
// OFFSET 0 keeps the look-up of the event a look-up. A plan made while the
// table was empty could otherwise join by reading the whole table.
const claimSQL = `
WITH claimed AS (
    SELECT r.event_key, r.job_kind FROM lumin.runs r
    WHERE ` + actsOnRun + `
    FOR UPDATE SKIP LOCKED
), settled AS (
    UPDATE lumin.runs r
    SET state = 'succeeded', replay_id = $3, job_id = $4, attempts = $5, error = NULL, finished_at = clock_timestamp()
    FROM claimed c WHERE r.event_key = c.event_key AND r.job_kind = c.job_kind
    RETURNING r.event_id, r.rerun
)
SELECT e.*, s.rerun FROM settled s
LEFT JOIN LATERAL (SELECT ` + eventColumns + ` FROM lumin.events WHERE id = s.event_id OFFSET 0) e ON true`

// BeginClaim begins a transaction on conn and claims the run of a job in it,
// like [Store.ClaimTx], in one round trip. If the transaction is not nil, the
// caller must end it, even if there is an error too. Its commit also cleans the
// session: see package cleanpool.
func (s *Store) BeginClaim(ctx context.Context, conn *pgx.Conn, a Attempt) (pgx.Tx, *Event, error) {
	var event *Event
	tx, err := beginClaim(ctx, conn, claimSQL, a.claimArgs(), func(rows pgx.Rows) (err error) {
		event, err = claimed(rows, a.JobKind)
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		err = s.classifyUnclaimed(ctx, tx, a)
	}
	return tx, event, err
}

// beginClaim begins a transaction on conn and sends a statement in it, in one
// round trip. read reads the rows of the statement. For the transaction, see
// [Store.BeginClaim].
func beginClaim(ctx context.Context, conn *pgx.Conn, sql string, args []any, read func(pgx.Rows) error) (tx pgx.Tx, err error) {
	batch := &pgx.Batch{}
	batch.BeginTx(query.ReadCommitted)
	batch.Queue(sql, args...)
	results := conn.SendBatch(ctx, batch)
	if begun := results.Tx(); begun != nil {
		tx = cleanpool.CommitCleans(begun)
	}
	if _, err := results.Exec(); err != nil {
		_ = results.Close() // Exec has returned the same error
		return tx, fmt.Errorf("begin: %w", err)
	}
	rows, _ := results.Query() // reading the rows returns the error
	err = read(rows)
	if closeErr := results.Close(); closeErr != nil {
		return tx, fmt.Errorf("claim: %w", closeErr)
	}
	return tx, err
}

// ClaimTx locks the run of a job, marks it succeeded in tx, and returns its
// event. Other transactions see the mark only after tx commits. ErrRunSettled
// and ErrRunLocked mean that tx has no work to do.
func (s *Store) ClaimTx(ctx context.Context, tx pgx.Tx, a Attempt) (*Event, error) {
	rows, _ := tx.Query(ctx, claimSQL, a.claimArgs()...) // reading the rows returns the error
	event, err := claimed(rows, a.JobKind)
	if errors.Is(err, pgx.ErrNoRows) {
		err = s.classifyUnclaimed(ctx, tx, a)
	}
	return event, err
}

func (a Attempt) claimArgs() []any {
	return []any{[16]byte(a.EventKey), a.JobKind, a.ReplayID, a.JobID, a.Number}
}

// claimed reads the result of claimSQL. The error is pgx.ErrNoRows if no run
// was claimed.
func claimed(rows pgx.Rows, kind string) (*Event, error) {
	event, err := pgx.CollectExactlyOneRow(rows, scanEventOf(kind))
	switch {
	case err != nil:
		return nil, fmt.Errorf("claim run: %w", err)
	case event == nil || event.Payload == nil:
		return nil, ErrEventGone
	}
	return event, nil
}

const runActsSQL = `SELECT EXISTS (SELECT FROM lumin.runs r WHERE ` + actsOnRun + `)`

// classifyUnclaimed returns the reason why no run was claimed: another
// transaction has locked it, or it needs no work.
func (s *Store) classifyUnclaimed(ctx context.Context, tx pgx.Tx, a Attempt) error {
	var open bool
	if err := tx.QueryRow(ctx, runActsSQL, [16]byte(a.EventKey), a.JobKind, a.ReplayID).Scan(&open); err != nil {
		return fmt.Errorf("check run: %w", err)
	}
	if open {
		return ErrRunLocked
	}
	return ErrRunSettled
}

const readRunSQL = `
SELECT e.*, r.rerun FROM lumin.runs r
LEFT JOIN LATERAL (SELECT ` + eventColumns + ` FROM lumin.events WHERE id = r.event_id OFFSET 0) e ON true
WHERE ` + actsOnRun

// ReadRun returns the event of a job's run without locking the run, for work
// that happens outside a transaction. ErrRunSettled means that there is no work
// to do.
func (s *Store) ReadRun(ctx context.Context, a Attempt) (*Event, error) {
	rows, _ := s.pool.Query(ctx, readRunSQL, [16]byte(a.EventKey), a.JobKind, a.ReplayID) // reading the rows returns the error
	event, err := pgx.CollectExactlyOneRow(rows, scanEventOf(a.JobKind))
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, ErrRunSettled
	case err != nil:
		return nil, fmt.Errorf("read run: %w", err)
	case event == nil || event.Payload == nil:
		return nil, ErrEventGone
	}
	return event, nil
}

const settleSQL = `
UPDATE lumin.runs r
SET state = 'succeeded', replay_id = $3, job_id = $4, attempts = $5, error = NULL, finished_at = clock_timestamp()
WHERE ` + actsOnRun

// Settle marks a run succeeded after work outside a transaction. It changes
// nothing if the run is settled already or belongs to a later replay.
func (s *Store) Settle(ctx context.Context, a Attempt) error {
	if _, err := s.pool.Exec(ctx, settleSQL, [16]byte(a.EventKey), a.JobKind, a.ReplayID, a.JobID, a.Number); err != nil {
		return fmt.Errorf("settle run: %w", err)
	}
	return nil
}

const noteAttemptSQL = `
UPDATE lumin.runs r SET job_id = $4, attempts = $5, error = $6
WHERE r.event_key = $1 AND r.job_kind = $2 AND r.replay_id = $3 AND r.state = 'pending'`

// NoteAttempt stores the error of a failed attempt, so that operators see it
// while the run is still pending. message must hold no personal data or
// secrets.
func (s *Store) NoteAttempt(ctx context.Context, a Attempt, message string) error {
	_, err := s.pool.Exec(ctx, noteAttemptSQL, [16]byte(a.EventKey), a.JobKind, a.ReplayID, a.JobID, a.Number, message)
	if err != nil {
		return fmt.Errorf("note attempt: %w", err)
	}
	return nil
}

const eventColumns = `id, event_key, source, signature_request_id, event_type, event_time, payload, signature, received_at`

// scanEventOf reads eventColumns and the rerun of the run of this job type. It
// returns nil for a row of NULLs from an outer join.
func scanEventOf(kind string) pgx.RowToFunc[*Event] {
	return func(row pgx.CollectableRow) (*Event, error) {
		var (
			id                         *int64
			key                        *[16]byte
			source, request, eventType *string
			eventTime, receivedAt      *time.Time
			payload, signature         []byte
			rerun                      int
		)
		if err := row.Scan(&id, &key, &source, &request, &eventType, &eventTime, &payload, &signature, &receivedAt, &rerun); err != nil {
			return nil, err
		}
		if id == nil {
			return nil, nil
		}
		e := &Event{
			ID: *id, Key: *key, Source: *source, Payload: payload, Signature: signature, ReceivedAt: receivedAt.UTC(),
			Recovered: *source == RecoveredSource, JobKind: kind, Rerun: rerun,
		}
		if request != nil {
			e.SignatureRequestID, e.Type, e.Time = *request, lumin.EventType(*eventType), eventTime.UTC()
		}
		return e, nil
	}
}
