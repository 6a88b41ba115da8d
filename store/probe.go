package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/lumin"
)

// probe makes a test recording and undoes it. It writes a synthetic event with
// a run, a job and a redelivery with different content, and rolls back to a
// savepoint. With works it also claims and settles the run.
//
// The surrounding transaction is then committed. It has a transaction id, so
// its commit is flushed and replicated like any other. The probe therefore
// notices a full disk and a synchronous standby that hangs. No other session
// sees its rows, and its NOTIFY is discarded. Its event key is new, so no lock
// and no error of another event can affect it. It consumes the id of a job, but
// no id of an event.
func (s *Store) probe(ctx context.Context, works bool) error {
	tx, err := s.beginRecording(ctx, lockTimeout)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer rollback(ctx, tx)
	savepoint, err := tx.Begin(ctx)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if err := s.testRecording(ctx, savepoint, works); err != nil {
		return err
	}
	if err := savepoint.Rollback(ctx); err != nil {
		return fmt.Errorf("roll back: %w", err)
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// probeKind is the kind of a job that is never committed. No job type can have
// it.
const probeKind = "lumin_probe"

func (s *Store) testRecording(ctx context.Context, tx pgx.Tx, works bool) error {
	batch := probeDeliveries()
	groups := groupByEvent(batch)
	if err := recordTx(ctx, tx, recordProbeSQL, groups, 0); err != nil {
		return err
	}
	_, repeated := setReceipts(groups)
	if err := countRedeliveries(ctx, tx, groupByEvent(repeated)); err != nil {
		return err
	}
	if !works {
		return nil
	}
	run := Attempt{JobArgs: JobArgs{EventKey: batch[0].key, JobKind: probeKind}, JobID: 1, Number: 1}
	if _, err := tx.Exec(ctx, settleJobSQL); err != nil {
		return fmt.Errorf("settle a job: %w", err)
	}
	if _, err := tx.Exec(ctx, noteAttemptSQL, append(run.claimArgs(), "")...); err != nil {
		return fmt.Errorf("store an attempt: %w", err)
	}
	_, err := s.ClaimTx(ctx, tx, run)
	return err
}

// settleJobSQL matches no row. It needs the same rights as River's update of a
// job that ends.
const settleJobSQL = `UPDATE lumin.river_job SET state = 'completed', finalized_at = now() WHERE id = -1`

// probeBody is the size of the probe's body in bytes. The body is too large to
// be stored inline, and random, so that it cannot be compressed. Like the body
// of a delivery, it needs new disk space.
const probeBody = 4 << 10

// probeDeliveries returns a delivery of a synthetic event, and a redelivery
// with different content.
func probeDeliveries() []*pending {
	var (
		now   = time.Now().UTC().Truncate(time.Millisecond)
		event = &lumin.Envelope{SignatureRequestID: rand.Text(), EventType: probeKind, EventTime: now}
		batch []*pending
	)
	for range 2 {
		body := make([]byte, probeBody)
		_, _ = rand.Read(body) // crypto/rand.Read never returns an error
		batch = append(batch, &pending{key: event.Key(), delivery: &Delivery{
			Source: "account", Envelope: event, Payload: body, Signature: make([]byte, 32), KeyID: probeKind, ReceivedAt: now,
			Jobs: []JobSpec{{Kind: probeKind, Queue: "default", MaxAttempts: 1, Priority: 1}},
		}})
	}
	return batch
}

// errProbeTimeout is the cancellation cause of a probe that took too long.
var errProbeTimeout = errors.New("timeout")
