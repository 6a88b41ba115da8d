package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
	"lumin-ingest/lumin"
)

// A recovery and the recordings of its original exclude each other by one advisory
// lock. A transaction that may record such an event takes it shared, and a recovery
// takes it exclusively. Both take it in a statement before the one that looks,
// because a statement does not see what was committed after it began. The key is
// arbitrary.
const (
	recoveryLock        = `7263921056001227`
	excludeRecoveryCall = `pg_catalog.pg_advisory_xact_lock_shared(` + recoveryLock + `)`
)

// Bounds on a recovery. Recordings wait while a recovery holds the lock or waits for
// it.
const (
	recoveryLockTimeout = 200 * time.Millisecond
	recoveryIdleTimeout = 2 * time.Second // then the server ends the session of a program that hangs
)

// recoveryLockSQL takes the lock. The timeouts precede the call that they bound, and
// hold until the transaction ends.
const recoveryLockSQL = `
SELECT pg_catalog.set_config('lock_timeout', $1, true), pg_catalog.set_config('statement_timeout', $2, true),
       pg_catalog.set_config('idle_in_transaction_session_timeout', $3, true), pg_catalog.pg_advisory_xact_lock(` + recoveryLock + `)`

// olderProgramsSQL names programs that would not recognize the original of a
// recovered event. Programs recognize it since migration 27. A program that was not
// seen for a minute has ended.
const olderProgramsSQL = `
SELECT coalesce(string_agg(format('%s (process %s)', host, pid), ', ' ORDER BY host, pid), '') FROM lumin.programs
WHERE role <> 'worker' AND last_seen >= now() - interval '1 minute' AND coalesce(schema_version, 0) < 27`

// recoveryLookSQL finds what prevents a recovery: a stored event of any source, and
// older programs.
const recoveryLookSQL = `
SELECT (SELECT id FROM (SELECT id FROM lumin.events WHERE signature_request_id = $1 AND event_type = $2 OFFSET 0) e ORDER BY id LIMIT 1),
       (` + olderProgramsSQL + `)`

// Recovery is an event to recover.
type Recovery struct {
	// Payload is its body. The signature request, the type and the time of the event
	// are in it, as in a delivery. See [lumin.EventType.Recoverable] for the types.
	Payload     []byte
	RecoveredAt time.Time // becomes the time of receipt
}

// Errors of [Store.RecoverTx]. Nothing is recorded then.
var (
	// ErrRecoveryBusy means that recordings held the lock for too long. The recovery
	// can be tried again in another transaction after a second.
	ErrRecoveryBusy = errors.New("deliveries are being recorded at this moment")

	// ErrOlderProgram means that running programs would not recognize the original
	// of a recovered event, so job types could run twice for one event.
	ErrOlderProgram = errors.New("programs of an older version receive deliveries")
)

// RecoverTx records an event that no source has reported. It creates runs and jobs for
// all job types in lumin.job_types that subscribe to the event type and do not refuse
// recovered events. So job types of other programs run too.
//
// If an event of this type is stored for the signature request, from any source or
// recovered, nothing is recorded: the receipt is a Duplicate with the id of that event.
// If the original of a recovered event is delivered later, it counts as a redelivery
// of the recovered event.
//
// Recordings wait until tx ends, so end it at once. If it stays idle for two
// seconds, the server ends the session. After an error, roll it back.
func (s *Store) RecoverTx(ctx context.Context, tx pgx.Tx, r Recovery) (Receipt, error) {
	envelope, err := lumin.DecodeEnvelope(r.Payload)
	if err != nil {
		return Receipt{}, fmt.Errorf("recover an event: %w", err)
	}
	if !envelope.EventType.Recoverable() {
		return Receipt{}, fmt.Errorf("recover an event: events of type %s cannot be recovered", envelope.EventType)
	}
	jobs, err := RecoveredJobs(ctx, tx, envelope.EventType) // recordings do not wait for this one yet
	if err != nil {
		return Receipt{}, err
	}
	var (
		stored *int64
		older  string
		look   pgx.Batch
	)
	queueLock(&look)
	look.Queue(recoveryLookSQL, envelope.SignatureRequestID, string(envelope.EventType)).QueryRow(func(row pgx.Row) error {
		return row.Scan(&stored, &older)
	})
	switch err := lockError(tx.SendBatch(ctx, &look).Close()); {
	case err != nil:
		return Receipt{}, fmt.Errorf("look for the event to recover: %w", err)
	case stored != nil:
		return Receipt{EventID: *stored, Status: Duplicate}, nil
	case older != "":
		return Receipt{}, fmt.Errorf("%w: %s", ErrOlderProgram, older)
	}
	d := Delivery{
		Source: RecoveredSource, Envelope: &envelope, Payload: r.Payload, Signature: []byte{},
		ReceivedAt: r.RecoveredAt, Jobs: jobs,
	}
	receipts, err := s.recordInto(ctx, tx, []Delivery{d}, 0)
	if err != nil {
		return Receipt{}, err
	}
	return receipts[0], nil
}

// CheckPrograms returns [ErrOlderProgram] if nothing can be recovered because of the
// programs that are running. RecoverTx checks the same.
func CheckPrograms(ctx context.Context, db query.DB) error {
	older, err := query.Rows(ctx, db, "look for older programs", pgx.RowTo[string], olderProgramsSQL)
	if err == nil && older[0] != "" {
		err = fmt.Errorf("%w: %s", ErrOlderProgram, older[0])
	}
	return err
}

// LockForRecovery keeps transactions from recording events of the types that can be
// recovered, until tx ends: see [Store.RecoverTx] for its bounds. The error is
// [ErrRecoveryBusy] if such transactions are under way.
func LockForRecovery(ctx context.Context, tx pgx.Tx) error {
	var lock pgx.Batch
	queueLock(&lock)
	return lockError(tx.SendBatch(ctx, &lock).Close())
}

func queueLock(batch *pgx.Batch) {
	batch.Queue(recoveryLockSQL, milliseconds(recoveryLockTimeout), milliseconds(flushTimeout), milliseconds(recoveryIdleTimeout))
}

// lockError says which error means that the lock was not to be had.
func lockError(err error) error {
	switch {
	case isBlocking(err):
		return fmt.Errorf("%w: %w", ErrRecoveryBusy, err)
	case err != nil:
		return fmt.Errorf("exclude recordings: %w", err)
	}
	return nil
}

// ExcludeRecovery keeps recoveries out until tx ends. A transaction that records
// events of the types that can be recovered must call it before it looks for recovered
// ones.
func ExcludeRecovery(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, `SELECT `+excludeRecoveryCall); err != nil {
		return fmt.Errorf("exclude a recovery: %w", err)
	}
	return nil
}

// RecoveredJobs returns the jobs that a recovered event of a type gets.
func RecoveredJobs(ctx context.Context, db query.DB, eventType lumin.EventType) ([]JobSpec, error) {
	return query.Structs[JobSpec](ctx, db, "list job types of a recovered event", `
		SELECT kind, queue, coalesce(max_attempts, 10)::integer, coalesce(priority, 1)::integer FROM lumin.job_types
		WHERE recovered AND (events = '{}' OR $1 = ANY (events)) ORDER BY kind`, string(eventType))
}
