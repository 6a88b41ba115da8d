package store

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"
)

// RecordTx records deliveries of new events in tx, with their runs and jobs.
// The runs belong to a replay order. Receipts are in the order of the
// deliveries. A delivery of a stored event changes nothing: its receipt is a
// Duplicate without an event id. Unlike a [Recorder], RecordTx counts no
// redeliveries.
func (s *Store) RecordTx(ctx context.Context, tx pgx.Tx, deliveries []Delivery, replayID int64) ([]Receipt, error) {
	if len(deliveries) == 0 {
		return nil, nil
	}
	if slices.ContainsFunc(deliveries, func(d Delivery) bool { return d.recoverable() }) {
		if err := ExcludeRecovery(ctx, tx); err != nil {
			return nil, err
		}
	}
	return s.recordInto(ctx, tx, deliveries, replayID)
}

// recordInto is RecordTx for a transaction that holds the lock of recoveries.
func (s *Store) recordInto(ctx context.Context, tx pgx.Tx, deliveries []Delivery, replayID int64) ([]Receipt, error) {
	batch := make([]*pending, len(deliveries))
	for i := range deliveries {
		batch[i] = &pending{delivery: &deliveries[i], key: deliveries[i].key(), receipt: Receipt{Status: Duplicate}}
	}
	groups := groupByEvent(batch)
	if err := recordTx(ctx, tx, recordSQL, groups, replayID); err != nil {
		return nil, err
	}
	setReceipts(groups)
	if err := WakeTx(ctx, tx, queuesToWake(groups)); err != nil {
		return nil, err
	}
	receipts := make([]Receipt, len(batch))
	for i, p := range batch {
		receipts[i] = p.receipt
	}
	return receipts, nil
}
