package store

import (
	"slices"
	"sync"
	"time"
)

// Bounds on the wait for a larger batch. Each statement has a fixed cost: in a
// batch of about 40, a delivery took 66 µs of the server's CPU time, in a batch
// of about 20 it took 87 µs.
const (
	gatherFrom  = 8                     // after a smaller batch, the next one does not wait
	gatherTo    = maxBatch / 2          // so many deliveries do not wait
	gatherTime  = 5 * time.Millisecond  // longest wait after a commit
	gatherWhile = 20 * time.Millisecond // longest wait during a commit
)

// queue holds deliveries that wait for a flusher. Recorder.mu guards it.
type queue struct {
	waiting []*pending
	closed  bool // no delivery will be added
	wake    *sync.Cond

	gather
	timer *time.Timer // wakes a flusher when gather ends
}

// gather is the wait for the next batch to grow. Flushers take deliveries once
// as many as wanted are waiting, or when the time is up.
//
// While a batch is under way, another flusher waits for twice as many
// deliveries: its statement would compete for the same processors. After a
// commit, the callers that were answered are likely to deliver again. Without a
// wait, the first of them would go alone and all others would wait for it. A
// lone caller, and a few, never wait.
type gather struct {
	want  int
	until time.Time
}

// begun is called when a batch of n is under way.
func (g *gather) begun(n int, now time.Time) {
	*g = gather{}
	if n >= gatherFrom {
		*g = gather{want: min(2*n, gatherTo), until: now.Add(gatherWhile)}
	}
}

// ended is called when a batch of n has been answered after a time. waiting
// deliveries have arrived meanwhile.
func (g *gather) ended(n, waiting int, took time.Duration, now time.Time) {
	*g = gather{}
	if n >= gatherFrom {
		*g = gather{want: min(n+waiting, gatherTo), until: now.Add(min(took/2, gatherTime))}
	}
}

// rest returns how long a flusher must wait at most; 0 means not at all.
func (g *gather) rest(waiting int, now time.Time) time.Duration {
	if waiting >= g.want {
		return 0
	}
	return max(0, g.until.Sub(now))
}

func (q *queue) init(mu *sync.Mutex) {
	q.wake = sync.NewCond(mu)
	q.timer = time.AfterFunc(time.Hour, func() {
		mu.Lock()
		defer mu.Unlock()
		q.wake.Broadcast()
	})
	q.timer.Stop()
}

// add adds a delivery. It wakes a flusher only if that has something to do.
func (q *queue) add(p *pending) {
	q.waiting = append(q.waiting, p)
	if n := len(q.waiting); n == 1 || n >= q.want {
		q.wake.Signal()
	}
}

func (q *queue) close() {
	q.closed = true
	q.timer.Stop()
	q.wake.Broadcast()
}

// ready waits until deliveries should be taken. It returns false if the queue
// is closed and empty.
func (q *queue) ready() bool {
	for !q.closed {
		if len(q.waiting) == 0 {
			q.wake.Wait()
			continue
		}
		rest := q.rest(len(q.waiting), time.Now())
		if rest == 0 {
			return true
		}
		q.timer.Reset(rest)
		q.wake.Wait()
	}
	return len(q.waiting) > 0
}

func (r *Recorder) flushLoop(q *queue) {
	for {
		batch := r.take(q)
		if batch == nil {
			return
		}
		start := time.Now()
		r.flush(batch, q)
		r.mu.Lock()
		now := time.Now()
		q.ended(len(batch), len(q.waiting), now.Sub(start), now)
		r.mu.Unlock()
	}
}

// take waits for deliveries and returns as many as one transaction should hold.
// It returns nil if the queue is closed and empty.
func (r *Recorder) take(q *queue) []*pending {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !q.ready() {
		return nil
	}
	n, size := 0, 0
	for n < len(q.waiting) && n < maxBatch {
		size += len(q.waiting[n].delivery.Payload)
		if n > 0 && size > maxBatchBytes {
			size -= len(q.waiting[n].delivery.Payload)
			break
		}
		n++
	}
	batch := slices.Clone(q.waiting[:n])
	q.waiting = slices.Delete(q.waiting, 0, n)
	r.bytes -= size
	q.begun(n, time.Now())
	if len(q.waiting) > 0 {
		q.wake.Signal() // another flusher takes the rest, or sets the timer
	}
	return batch
}
