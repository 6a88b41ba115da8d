package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgerrcode"

	"lumin-ingest/internal/errtext"
	"lumin-ingest/internal/redact"
)

// Bounds on the waits for locks of other transactions. Together they stay well
// below the 10 s within which a request must be answered. Deliveries of other
// events in the batch wait for lockTimeout too.
const (
	lockTimeout = 500 * time.Millisecond

	// A batch that a lock has blocked is split. splitLockTimeout is the lock
	// timeout of each part, and splitTimeout bounds all parts together.
	splitLockTimeout = 100 * time.Millisecond
	splitTimeout     = 4 * time.Second

	// deadlockPause is the time between a deadlock and the second attempt. The
	// rollback has released the locks, but PostgreSQL grants a free row lock to
	// the first session that asks. Without a pause, the second attempt often
	// takes the same lock before the waiting session wakes up, and deadlocks
	// again.
	deadlockPause = 100 * time.Millisecond
)

// flush writes a batch of a queue and answers its deliveries within
// flushTimeout.
func (r *Recorder) flush(batch []*pending, q *queue) {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	r.write(ctx, batch, q, r.lockTimeout)
}

// write writes deliveries and answers them. If the server refuses one of them,
// or a lock blocks one, the others are written without it.
func (r *Recorder) write(ctx context.Context, batch []*pending, q *queue, lockTimeout time.Duration) {
	if len(batch) == 0 {
		return
	}
	batch, err := r.commit(ctx, batch, q, lockTimeout)
	if hasCode(err, pgerrcode.DeadlockDetected, pgerrcode.SerializationFailure) {
		wait(ctx, deadlockPause)
		batch, err = r.commit(ctx, batch, q, lockTimeout)
	}
	switch {
	case err == nil:
	case ctx.Err() != nil:
		r.refuse(batch, err)
	case isBlocking(err):
		r.splitBlocked(ctx, batch, q, lockTimeout, err)
	case isRowError(err) && len(batch) > 1:
		r.write(ctx, batch[:len(batch)/2], q, lockTimeout)
		r.write(ctx, batch[len(batch)/2:], q, lockTimeout)
	default:
		r.refuse(batch, err)
	}
}

// wait returns after a time, or when ctx ends.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// splitBlocked splits a batch that a lock has blocked, and writes the parts.
// Deliveries of locked events must not delay the others. From the main queue
// they move to the side queue for one more attempt. From the side queue they
// are refused.
func (r *Recorder) splitBlocked(ctx context.Context, batch []*pending, q *queue, lockTimeout time.Duration, cause error) {
	if lockTimeout > splitLockTimeout { // the first time
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, splitTimeout)
		defer cancel()
	}
	locked, err := r.store.lockedEvents(ctx, batch)
	if err != nil {
		r.refuse(batch, errors.Join(cause, err)) // the whole table is locked
		return
	}
	var blocked, free []*pending
	for i, p := range batch {
		if locked[i] {
			blocked = append(blocked, p)
		} else {
			free = append(free, p)
		}
	}
	if len(blocked) > 0 {
		r.moveToSideQueue(blocked, q, cause)
		r.write(ctx, free, q, splitLockTimeout)
		return
	}
	one, other := halve(free)
	if len(other) == 0 {
		r.moveToSideQueue(one, q, cause)
		return
	}
	r.write(ctx, one, q, splitLockTimeout)
	r.write(ctx, other, q, splitLockTimeout)
}

// halve splits a batch in two and keeps the deliveries of each event together.
// If the batch has a single event, the second half is empty.
func halve(batch []*pending) (one, other []*pending) {
	half := map[identity]int{}
	for _, p := range batch {
		if _, known := half[p.identity()]; !known {
			half[p.identity()] = len(half)
		}
	}
	for _, p := range batch {
		if half[p.identity()] < (len(half)+1)/2 {
			one = append(one, p)
		} else {
			other = append(other, p)
		}
	}
	return one, other
}

// sideQueueTime is how long deliveries of a locked event use the side queue.
// Each failed attempt starts the time again.
const sideQueueTime = time.Minute

// moveToSideQueue moves blocked deliveries, and later ones of the same events,
// to the side queue. There they delay only each other.
func (r *Recorder) moveToSideQueue(batch []*pending, q *queue, cause error) {
	r.mu.Lock()
	now := time.Now()
	for id, until := range r.blocked {
		if now.After(until) {
			delete(r.blocked, id)
		}
	}
	for _, p := range batch {
		if len(r.blocked) < maxQueued {
			r.blocked[p.identity()] = now.Add(sideQueueTime)
		}
	}
	again := q == &r.main && !r.dropping
	if again {
		// Deliveries of these events in the main queue would wait for the same
		// lock.
		r.main.waiting = slices.DeleteFunc(r.main.waiting, func(p *pending) bool {
			blocked := r.usesSideQueue(p.identity())
			if blocked {
				r.side.add(p)
			}
			return blocked
		})
		for _, p := range batch {
			r.add(&r.side, p)
		}
	}
	r.mu.Unlock()
	if !again {
		r.refuse(batch, cause)
	}
}

// usesSideQueue must be called with mu held.
func (r *Recorder) usesSideQueue(id identity) bool {
	until, blocked := r.blocked[id]
	return blocked && time.Now().Before(until)
}

// accept answers committed deliveries.
func (r *Recorder) accept(batch []*pending, q *queue) {
	for _, p := range batch {
		p.result <- result{receipt: p.receipt}
	}
	if q == &r.side {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, p := range batch {
			delete(r.blocked, p.identity())
		}
	}
}

// refuse answers deliveries with an error. They are not committed, or their
// commit is in doubt. It logs afterwards, so that a blocked log cannot delay an
// answer.
func (r *Recorder) refuse(batch []*pending, err error) {
	for _, p := range batch {
		p.result <- result{err: fmt.Errorf("%w: %w", ErrUnavailable, err)}
	}
	r.logger.Error("deliveries not recorded", "count", len(batch), "error", errtext.Plain(redact.Text(err.Error())))
}

// commit writes a batch and answers the committed deliveries. New events are
// written first, in one statement. Redeliveries follow in a transaction of
// their own. It returns the deliveries that an error left without an answer.
func (r *Recorder) commit(ctx context.Context, batch []*pending, q *queue, lockTimeout time.Duration) (left []*pending, err error) {
	start, size := time.Now(), len(batch)
	ctx, span := r.tracer.StartBatch(ctx, "record batch", size)
	defer func() {
		endBatch(span, err)
		if err == nil {
			r.batchSize.Observe(float64(size))
			r.commitSeconds.Observe(time.Since(start).Seconds())
		}
		r.note(err)
		if hasCode(err, pgerrcode.ReadOnlySQLTransaction) {
			// The connected server has become a standby, so connect again.
			r.store.pool.Reset()
		}
	}()
	groups := groupByEvent(batch)
	if err := r.store.recordNew(ctx, groups, lockTimeout); err != nil {
		return batch, fmt.Errorf("record %d events: %w", len(groups), err)
	}
	r.waker.wake(queuesToWake(groups))
	fresh, repeated := setReceipts(groups)
	r.accept(fresh, q)
	r.trace(fresh, start, span)
	if len(repeated) == 0 {
		return nil, nil
	}
	if err := r.store.recordRepeated(ctx, groupByEvent(repeated), lockTimeout); err != nil {
		return repeated, fmt.Errorf("record %d redeliveries: %w", len(repeated), err)
	}
	r.accept(repeated, q)
	r.trace(repeated, start, span)
	return nil, nil
}

// note stores when recording last succeeded, and when it last failed because of
// the database. An error of one delivery counts as neither.
func (r *Recorder) note(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		r.succeededAt = time.Now()
	case !isRowError(err) && !isBlocking(err):
		r.failedAt = time.Now()
	}
}

// outcomes returns the times that note stored.
func (r *Recorder) outcomes() (succeededAt, failedAt time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.succeededAt, r.failedAt
}
