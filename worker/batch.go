package worker

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Batch is a transactional job type that works many events in one transaction,
// such as one that keeps a table of totals. The guarantee is that of
// [Transactional]: each event takes effect exactly once, and once more for each
// replay that asks for it.
//
// Each event keeps its own run, job, attempts and failure. Whatever jobs wait
// when a flusher is free become one batch, so an idle program works one event at
// a time, and a busy one many. The events are sorted by event key. None of them
// appears twice.
//
// The worker commits tx if WorkBatch returns nil. Otherwise it rolls tx back and
// tries the events again in halves, until an event fails alone. That event has a
// failed attempt with the error that it caused. After a timeout each event is
// tried alone at once. Therefore WorkBatch may be called several times in one
// attempt, but only one of these calls takes effect.
//
// RecordOutput and MetadataSet of River fail in WorkBatch, because a batch has
// no job of its own.
type Batch interface {
	JobType
	WorkBatch(ctx context.Context, tx pgx.Tx, events []*Event) error

	// BatchLimits returns the limits of the job type's batches.
	BatchLimits() BatchLimits
}

// BatchLimits are the limits of a batch job type. The zero value means the
// defaults, which leave most of a small machine to the deliveries.
type BatchLimits struct {
	// Slots is the number of jobs that the program takes from the queue at
	// once, 1 to 1000. 0 means 64. Config.Queues overrides it.
	Slots int

	// Flushers is the number of batches that are worked at once. Each takes a
	// connection. 0 means one for each 128 slots or part of them.
	Flushers int

	// Size is the largest number of events in a batch. 0 means 128.
	Size int
}

const (
	defaultSlots     = 64
	defaultBatchSize = 128
	slotsPerFlusher  = 128

	// maxBatchSize is far more than a useful number of events in a batch.
	maxBatchSize = 1000

	// aloneConns is the number of events of one batch job type that are tried
	// alone at once, after their batch has failed. Each takes a connection.
	aloneConns = 2
)

// BatchLimits returns the zero value, which means the defaults. Only batch job
// types use it.
func (Defaults) BatchLimits() BatchLimits { return BatchLimits{} }

// slots returns the number of slots.
func (l BatchLimits) slots() int { return cmp.Or(l.Slots, defaultSlots) }

// size returns the largest size of a batch.
func (l BatchLimits) size() int { return cmp.Or(l.Size, defaultBatchSize) }

// flushers returns the number of flushers, given the number of slots.
func (l BatchLimits) flushers(slots int) int {
	return cmp.Or(l.Flushers, (slots+slotsPerFlusher-1)/slotsPerFlusher)
}

// problem returns what is invalid, or "".
func (l BatchLimits) problem() string {
	switch {
	case l.Slots < 0 || l.Slots > maxWorkers:
		return fmt.Sprintf("BatchLimits.Slots is %d: give 1 to %d, or 0 for %d", l.Slots, maxWorkers, defaultSlots)
	case l.Size < 0 || l.Size > maxBatchSize:
		return fmt.Sprintf("BatchLimits.Size is %d: give 1 to %d, or 0 for %d", l.Size, maxBatchSize, defaultBatchSize)
	case l.Flushers < 0 || l.Flushers > l.slots():
		return fmt.Sprintf("BatchLimits.Flushers is %d: give 1 to the number of slots, or 0 for one for each %d slots", l.Flushers, slotsPerFlusher)
	}
	return ""
}

// AddBatch registers a job type that works batches; see [Registry.Add].
//
// A batch job type needs a queue of its own, because its jobs wait for each
// other. If Queue returns "default", the queue is named after the kind.
func (r *Registry) AddBatch(t Batch) {
	if isNil(t) {
		r.add(registered{JobType: t})
		return
	}
	r.add(registered{JobType: t, transactional: single{t}, batch: t, limits: t.BatchLimits()})
}

// single calls a batch job type with one event.
type single struct{ Batch }

// WorkTx implements Transactional.
func (s single) WorkTx(ctx context.Context, tx pgx.Tx, e *Event) error {
	return s.WorkBatch(ctx, tx, []*Event{e})
}

// ownQueue returns the queue of a batch job type.
func ownQueue(kind, queue string) string {
	if queue != (Defaults{}).Queue() {
		return queue
	}
	return strings.ToLower(kind)
}

// queues lists the queues in which jobs of the job type wait. An older program
// may put jobs of what is now a batch job type into the default queue.
func (t registered) queues() []string {
	if t.batch != nil && t.spec.Queue == ownQueue(t.spec.Kind, Defaults{}.Queue()) {
		return []string{Defaults{}.Queue(), t.spec.Queue}
	}
	return []string{t.spec.Queue}
}

// sharedQueueProblem returns why another kind cannot use a queue, or "" if it
// can: a batch job type shares its queue with no other.
func (r *Registry) sharedQueueProblem(queue string, batch bool) string {
	var with any
	for _, t := range r.types {
		if t.spec.Queue == queue && (batch || t.batch != nil) {
			with = t.JobType
		}
	}
	for _, f := range r.followUps {
		if f.queue == queue && batch {
			with = f.worker
		}
	}
	if with == nil {
		return ""
	}
	return fmt.Sprintf("Queue is %q, like that of %T: a batch job type needs a queue of its own", queue, with)
}

// batchSlots returns the slots of the queues of batch job types.
func (r *Registry) batchSlots() map[string]int {
	slots := map[string]int{}
	for _, t := range r.types {
		if t.batch != nil {
			slots[t.spec.Queue] = t.limits.slots()
		}
	}
	return slots
}

// riverTimeout returns the timeout of a job for River, which also rescues jobs
// after this time that were not given back: see [owner]. A job of a batch job type may wait for
// another batch before its own. If its own batch keeps running after its
// timeout, enough time must remain to try the event alone. A job of an ordered
// job type may begin the last event of others when its timeout ends.
func (t registered) riverTimeout() time.Duration {
	if t.batch == nil && !t.ordered {
		return t.timeout
	}
	return 2*(t.timeout+timeoutGrace) + abandonAfter
}
