package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/prometheus/client_golang/prometheus"

	"lumin-ingest/internal/errtext"
	"lumin-ingest/internal/redact"
	"lumin-ingest/lumin"
)

// Errors that [Recorder.Record] returns. After ErrUnavailable and ErrTimeout the
// delivery may or may not be in the database: the sender repeats it, and the
// repetition is recognized.
var (
	ErrUnavailable = errors.New("the database did not take the delivery")
	ErrOverloaded  = errors.New("too many deliveries are waiting for the database")
	ErrTimeout     = errors.New("the delivery was not recorded in time")
)

// Delivery is one verified delivery to record.
type Delivery struct {
	Source     string          // "account" or "app:NAME"
	Envelope   *lumin.Envelope // nil when the event is unrecognized
	Payload    []byte          // the exact bytes that were signed; not to be changed afterwards
	Signature  []byte          // 32 bytes
	KeyID      string          // which secret verified it
	ReceivedAt time.Time
	Jobs       []JobSpec // one run and one job each, if the event is new to them
}

// key is what tells this event from others.
func (d *Delivery) key() lumin.EventKey {
	if d.Envelope == nil {
		return lumin.UnrecognizedKey(d.Payload)
	}
	return d.Envelope.Key()
}

// Status says what a delivery turned out to be.
type Status string

// The outcomes of recording a delivery.
const (
	Recorded     Status = "recorded"     // a new event
	Duplicate    Status = "duplicate"    // a redelivery of an event that is stored
	Unrecognized Status = "unrecognized" // a new event without a sound identity
)

// Receipt is the result of recording one delivery.
type Receipt struct {
	EventID  int64
	Status   Status
	Conflict bool // a redelivery whose content differs from the first delivery
}

// Limits of a Recorder. The queue holds what a few seconds of full load bring;
// what does not fit is refused at once, because Lumin repeats it.
const (
	maxQueued      = 4096
	maxQueuedBytes = 64 << 20
	maxBatch       = 256
	maxBatchBytes  = 8 << 20
	flushers       = 2               // one prepares while the other commits; a third gained nothing
	flushTimeout   = 8 * time.Second // less than the 10 s in which a request must be answered
)

// Recorder records deliveries, many of them in one transaction.
//
// There is no timer: a delivery that finds a flusher idle is written at once,
// and while a commit is under way the next batch grows.
type Recorder struct {
	store  *Store
	logger *slog.Logger

	batchSize     prometheus.Histogram
	commitSeconds prometheus.Histogram

	mu      sync.Mutex
	waiting []*pending
	bytes   int
	closed  bool
	wake    *sync.Cond
	done    sync.WaitGroup
}

// pending is one delivery on its way; its result is sent once.
type pending struct {
	delivery *Delivery
	key      lumin.EventKey
	result   chan<- result
}

type result struct {
	receipt Receipt
	err     error
}

// NewRecorder starts a Recorder, which the caller must Close. A nil registerer
// leaves its metrics unregistered.
func NewRecorder(s *Store, logger *slog.Logger, registerer prometheus.Registerer) *Recorder {
	r := &Recorder{
		store:  s,
		logger: logger,
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
	r.wake = sync.NewCond(&r.mu)
	for range flushers {
		r.done.Go(r.flushLoop)
	}
	return r
}

// Record returns once the delivery and its jobs are committed, or with an error
// once that is not going to be known in time. ctx bounds the wait only: what has
// been queued is written even when nobody waits for it any more.
func (r *Recorder) Record(ctx context.Context, d Delivery) (Receipt, error) {
	if d.Payload == nil {
		d.Payload = []byte{} // NULL is for what has been removed
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
	if r.closed || len(r.waiting) >= maxQueued || r.bytes+len(p.delivery.Payload) > maxQueuedBytes {
		return ErrOverloaded
	}
	r.waiting = append(r.waiting, p)
	r.bytes += len(p.delivery.Payload)
	r.wake.Signal()
	return nil
}

// Close refuses further deliveries, writes those that wait, and returns when
// everybody is answered.
func (r *Recorder) Close() { r.Shutdown(context.Background()) }

// Shutdown is [Recorder.Close] for whoever has not that much time: once ctx ends,
// what still waits is answered with ErrUnavailable, and only the transactions
// under way are waited for, eight seconds at most.
func (r *Recorder) Shutdown(ctx context.Context) {
	r.mu.Lock()
	r.closed = true
	r.wake.Broadcast()
	r.mu.Unlock()
	stop := context.AfterFunc(ctx, r.drop)
	defer stop()
	r.done.Wait()
}

// drop answers what waits without writing it.
func (r *Recorder) drop() {
	r.mu.Lock()
	dropped := r.waiting
	r.waiting, r.bytes = nil, 0
	r.mu.Unlock()
	for _, p := range dropped {
		p.result <- result{err: fmt.Errorf("%w: the program is stopping", ErrUnavailable)}
	}
}

func (r *Recorder) flushLoop() {
	for {
		batch := r.take()
		if batch == nil {
			return
		}
		r.flush(batch)
	}
}

// take waits for deliveries and takes as many as one transaction should hold;
// nil when the Recorder is closed and nothing waits.
func (r *Recorder) take() []*pending {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.waiting) == 0 {
		if r.closed {
			return nil
		}
		r.wake.Wait()
	}
	n, size := 0, 0
	for n < len(r.waiting) && n < maxBatch {
		size += len(r.waiting[n].delivery.Payload)
		if n > 0 && size > maxBatchBytes {
			size -= len(r.waiting[n].delivery.Payload)
			break
		}
		n++
	}
	batch := make([]*pending, n)
	copy(batch, r.waiting)
	rest := copy(r.waiting, r.waiting[n:])
	clear(r.waiting[rest:])
	r.waiting = r.waiting[:rest]
	r.bytes -= size
	return batch
}

// flush writes a batch and answers it. A batch refused because of something in
// one of its rows is written again in halves, until that row stands alone.
func (r *Recorder) flush(batch []*pending) {
	receipts, err := r.commit(batch)
	switch {
	case err == nil:
		for i, p := range batch {
			p.result <- result{receipt: receipts[i]}
		}
	case len(batch) > 1 && refusesRow(err):
		r.flush(batch[:len(batch)/2])
		r.flush(batch[len(batch)/2:])
	default:
		r.logger.Error("deliveries not recorded", "count", len(batch), "error", errtext.Plain(redact.Text(err.Error())))
		for _, p := range batch {
			p.result <- result{err: fmt.Errorf("%w: %w", ErrUnavailable, err)}
		}
	}
}

func (r *Recorder) commit(batch []*pending) ([]Receipt, error) {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	start := time.Now()
	receipts, err := r.store.record(ctx, batch)
	if err == nil {
		r.batchSize.Observe(float64(len(batch)))
		r.commitSeconds.Observe(time.Since(start).Seconds())
	}
	if readOnly(err) {
		// The server we are connected to has become a standby: connect anew.
		r.store.pool.Reset()
	}
	return receipts, err
}

// readOnly reports SQLSTATE 25006, read_only_sql_transaction.
func readOnly(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && pgErr.Code == "25006"
}

// errInDoubt marks an error of COMMIT: the rows may be there.
var errInDoubt = errors.New("commit in doubt")

// refusesRow reports whether the server refused data rather than service:
// another batch without that data would be taken.
func refusesRow(err error) bool {
	var pgErr *pgconn.PgError
	if errors.Is(err, errInDoubt) || !errors.As(err, &pgErr) {
		return false
	}
	for _, class := range []string{
		"22", // data exception
		"23", // integrity constraint violation
		"54", // program limit exceeded: a row too large for an index
		"P0", // raised by a trigger
	} {
		if strings.HasPrefix(pgErr.Code, class) { // something between us and the server may have sent none
			return true
		}
	}
	return false
}
