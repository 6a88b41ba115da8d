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

// probe does what recording does, and undoes it: a made-up event with a run, a job
// and a redelivery of other content is written and rolled back. With works it also
// claims and settles the run.
//
// The transaction around it is committed. It has an id by then, so its commit is
// written, flushed and replicated like any other: a full disk and a synchronous
// standby that hangs are noticed. Nothing of it can be seen, and NOTIFY is
// discarded. Its event key is its own, so no lock on a row and no fault of one
// event can stop it. It uses up an id of a job, but none of an event.
func (s *Store) probe(ctx context.Context, works bool) error {
	tx, err := s.beginRecording(ctx, lockTimeout)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer rollback(ctx, tx)
	undone, err := tx.Begin(ctx) // a savepoint
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if err := s.rehearse(ctx, undone, works); err != nil {
		return err
	}
	if err := undone.Rollback(ctx); err != nil {
		return fmt.Errorf("roll back: %w", err)
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// probeKind is the kind of a job that is never committed. No job type can have it.
const probeKind = "lumin_probe"

func (s *Store) rehearse(ctx context.Context, tx pgx.Tx, works bool) error {
	batch := madeUp()
	groups := fold(batch)
	if err := s.write(ctx, tx, insertProbeSQL, groups); err != nil {
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
		return fmt.Errorf("note an attempt: %w", err)
	}
	_, err := s.ClaimTx(ctx, tx, run)
	return err
}

// settleJobSQL does to no row what River does to a job that ends: it takes the same
// rights.
const settleJobSQL = `UPDATE lumin.river_job SET state = 'completed', finalized_at = now() WHERE id = -1`

// probeBody is more than fits into a row, and random, so that it cannot be
// compressed: it takes up new space like the body of a delivery.
const probeBody = 4 << 10

// madeUp is a delivery of an event that never was, and a redelivery with other
// content.
func madeUp() []*pending {
	var (
		now   = time.Now().UTC().Truncate(time.Millisecond)
		event = &lumin.Envelope{SignatureRequestID: rand.Text(), EventType: probeKind, EventTime: now}
		batch []*pending
	)
	for range 2 {
		body := make([]byte, probeBody)
		_, _ = rand.Read(body) // it never fails
		batch = append(batch, &pending{key: event.Key(), delivery: &Delivery{
			Source: "account", Envelope: event, Payload: body, Signature: make([]byte, 32), KeyID: probeKind, ReceivedAt: now,
			Jobs: []JobSpec{{Kind: probeKind, Queue: "default", MaxAttempts: 1, Priority: 1}},
		}})
	}
	return batch
}

// errProbeTimeout is the cause of a probe's end that took too long.
var errProbeTimeout = errors.New("timeout")
