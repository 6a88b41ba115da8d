package store

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lumin-ingest/internal/tracing"
	"lumin-ingest/lumin"
)

// Limits of a Recorder. The queue holds the deliveries of a few seconds of full
// load. A delivery that does not fit is refused at once, because Lumin
// redelivers it.
const (
	maxQueued      = 4096
	maxQueuedBytes = 64 << 20
	maxBatch       = 256
	maxBatchBytes  = 1 << 20         // pgx copies a batch about four times; one body is never larger
	flushers       = 2               // a third gained nothing
	flushTimeout   = 8 * time.Second // less than the 10 s within which a request must be answered
)

// Recorder records deliveries, many of them in one transaction.
//
// An idle flusher writes a delivery at once. While a commit is under way, the
// next batch grows. Under load, a flusher waits some milliseconds for the
// callers that were just answered: see gather.
type Recorder struct {
	store  *Store
	logger *slog.Logger

	batchSize     prometheus.Histogram
	commitSeconds prometheus.Histogram

	lockTimeout time.Duration
	waker       *waker
	tracer      *tracing.Tracer // nil: there are no traces

	mu       sync.Mutex
	main     queue
	side     queue                  // side queue: deliveries of locked events
	bytes    int                    // size of all waiting deliveries
	closed   bool                   // no further deliveries are accepted
	dropping bool                   // waiting deliveries are refused
	blocked  map[identity]time.Time // locked events, until this time

	succeededAt, failedAt time.Time // see note
	done                  sync.WaitGroup
}

// pending is a delivery that waits for its result, which is sent once.
type pending struct {
	delivery *Delivery
	key      lumin.EventKey
	receipt  Receipt // set before the commit
	result   chan<- result
}

func (p *pending) identity() identity { return identity{p.key, p.delivery.Source} }

type result struct {
	receipt Receipt
	err     error
}

// NewRecorder starts a Recorder. The caller must close it. If registerer is
// nil, its metrics are not registered.
func NewRecorder(s *Store, logger *slog.Logger, registerer prometheus.Registerer) *Recorder {
	return newRecorder(s, logger, registerer, lockTimeout)
}

// SetTracer makes spans of recordings. It must be called before the first
// [Recorder.Record].
func (r *Recorder) SetTracer(t *tracing.Tracer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tracer = t
}

func newRecorder(s *Store, logger *slog.Logger, registerer prometheus.Registerer, lockTimeout time.Duration) *Recorder {
	r := &Recorder{
		store:       s,
		logger:      logger,
		lockTimeout: lockTimeout,
		waker:       newWaker(s, logger),
		blocked:     map[identity]time.Time{},
		batchSize: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "lumin_record_batch_size",
			Help:    "Deliveries recorded in one transaction.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 9),
		}),
		commitSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "lumin_record_commit_seconds",
			Help:    "Time from the start of a recording transaction to its commit.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 13),
		}),
	}
	if registerer != nil {
		registerer.MustRegister(r.batchSize, r.commitSeconds)
	}
	r.main.init(&r.mu)
	r.side.init(&r.mu)
	var flushing sync.WaitGroup
	for range flushers {
		flushing.Go(func() { r.flushLoop(&r.main) })
	}
	r.done.Go(func() { r.flushLoop(&r.side) })
	r.done.Go(func() {
		flushing.Wait() // until then a flusher may still use the side queue
		r.closeQueue(&r.side)
	})
	return r
}

func (r *Recorder) closeQueue(q *queue) {
	r.mu.Lock()
	defer r.mu.Unlock()
	q.close()
}

// Record returns nil once the delivery and its jobs are committed. It returns
// an error if that is not known in time. ctx bounds only the wait: a queued
// delivery is written even if its caller has stopped waiting.
func (r *Recorder) Record(ctx context.Context, d Delivery) (Receipt, error) {
	if d.Payload == nil {
		d.Payload = []byte{} // NULL means a removed body
	}
	answer := make(chan result, 1)
	if err := r.enqueue(&pending{delivery: &d, key: d.key(), result: answer}); err != nil {
		return Receipt{}, err
	}
	select {
	case res := <-answer:
		return res.receipt, res.err
	case <-ctx.Done():
		return Receipt{}, fmt.Errorf("%w: %w", ErrTimeout, ctx.Err())
	}
}

func (r *Recorder) enqueue(p *pending) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || len(r.main.waiting)+len(r.side.waiting) >= maxQueued || r.bytes+len(p.delivery.Payload) > maxQueuedBytes {
		return ErrOverloaded
	}
	q := &r.main
	if r.usesSideQueue(p.identity()) {
		q = &r.side
	}
	r.add(q, p)
	return nil
}

func (r *Recorder) add(q *queue, p *pending) {
	r.bytes += len(p.delivery.Payload)
	q.add(p)
}

// Close refuses further deliveries, writes the waiting ones, and returns when
// all are answered.
func (r *Recorder) Close() { r.Shutdown(context.Background()) }

// Shutdown is [Recorder.Close] with a time limit. Once ctx ends, waiting
// deliveries are answered with ErrUnavailable. Shutdown then waits only for the
// transactions under way, eight seconds at most.
func (r *Recorder) Shutdown(ctx context.Context) {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.closeQueue(&r.main)
	stop := context.AfterFunc(ctx, r.drop)
	defer stop()
	r.done.Wait()
	r.waker.close()
}

// drop answers waiting deliveries without writing them.
func (r *Recorder) drop() {
	r.mu.Lock()
	dropped := slices.Concat(r.main.waiting, r.side.waiting)
	r.main.waiting, r.side.waiting, r.bytes = nil, nil, 0
	r.dropping = true
	r.mu.Unlock()
	for _, p := range dropped {
		p.result <- result{err: fmt.Errorf("%w: the program is stopping", ErrUnavailable)}
	}
}
