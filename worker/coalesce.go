package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/riverqueue/river"

	"lumin-ingest/store"
)

// coalescer gathers the attempts of one batch job type and works them together.
// River runs each attempt in a goroutine of its own, which waits here.
type coalescer struct {
	flushers int           // batches that are worked at once
	size     int           // the largest batch
	alone    chan struct{} // a place for each attempt that is tried alone after its batch

	mu      sync.Mutex
	waiting []*member // the oldest first
	active  int       // flushers at work
}

// member is an attempt that is, or will be, part of a batch.
type member struct {
	ctx     context.Context // River's
	attempt store.Attempt
	verdict chan verdict // receives one verdict
	unwatch func() bool  // keeps the end of ctx from ending the batch at work
}

// verdict is what becomes of a member: its outcome, or the task of working its
// event alone, in its own goroutine.
type verdict struct {
	err    error
	alone  bool
	worked func() // to be called once the event was worked alone; nil: the member first needs a place in coalescer.alone
}

func newCoalescer(limits BatchLimits, slots int) *coalescer {
	return &coalescer{flushers: limits.flushers(slots), size: limits.size(), alone: make(chan struct{}, aloneConns)}
}

// workBatch works an attempt as part of a batch.
func (x *executor) workBatch(ctx context.Context, attempt store.Attempt) error {
	c := x.batches
	m := &member{ctx: ctx, attempt: attempt, verdict: make(chan verdict, 1)}
	c.add(x, m)
	var v verdict
	select {
	case v = <-m.verdict:
	case <-ctx.Done():
		if c.withdraw(m) {
			return endedError(ctx)
		}
		v = <-m.verdict
	}
	switch {
	case !v.alone:
		return v.err
	case v.worked != nil:
		return x.workAlone(ctx, attempt, v.worked)
	}
	select {
	case c.alone <- struct{}{}:
		return x.workAlone(ctx, attempt, func() { <-c.alone })
	case <-ctx.Done():
		return endedError(ctx)
	}
}

// endedError returns the outcome of an attempt whose context ended before its
// event was worked. To have waited too long is no fault of the event, so the
// attempt does not count.
func endedError(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return river.JobSnooze(lockedRetry)
	}
	return fmt.Errorf("ended before its batch was committed: %w", context.Cause(ctx))
}

// add has a member wait for a batch, and starts a flusher if one is free.
func (c *coalescer) add(x *executor, m *member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = append(c.waiting, m)
	if c.active < c.flushers {
		c.active++
		go c.flush(x)
	}
}

// withdraw removes a member that no flusher has taken, and reports whether it
// did.
func (c *coalescer) withdraw(m *member) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.Index(c.waiting, m)
	if i >= 0 {
		c.waiting = slices.Delete(c.waiting, i, i+1)
	}
	return i >= 0
}

// flush works batches until no member waits.
func (c *coalescer) flush(x *executor) {
	for {
		members := c.take()
		switch len(members) {
		case 0:
			return
		case 1:
			c.workFirst(members[0])
		default:
			if err := contain(func() error { x.workMembers(members); return nil }); err != nil {
				finish(members, err) // a member that has a verdict already keeps it
			}
		}
	}
}

// take removes the members of the next batch. If there are none, the flusher is
// no longer active. Of two attempts at one run the second waits for another
// batch.
func (c *coalescer) take() []*member {
	c.mu.Lock()
	defer c.mu.Unlock()
	var batch, rest []*member
	taken := map[[16]byte]bool{}
	for i, m := range c.waiting {
		if len(batch) == c.size {
			rest = append(rest, c.waiting[i:]...)
			break
		}
		if taken[m.attempt.EventKey] {
			rest = append(rest, m)
			continue
		}
		taken[m.attempt.EventKey] = true
		batch = append(batch, m)
	}
	c.waiting = rest
	if len(batch) == 0 {
		c.active--
	}
	slices.SortFunc(batch, func(a, b *member) int {
		return slices.Compare(a.attempt.EventKey[:], b.attempt.EventKey[:])
	})
	return batch
}

// workFirst has a batch of one worked by its own attempt, and waits for it, so
// that others gather meanwhile.
func (c *coalescer) workFirst(m *member) {
	worked := make(chan struct{})
	m.verdict <- verdict{alone: true, worked: func() { close(worked) }}
	<-worked
}

// finish gives members their outcome, if they have none.
func finish(members []*member, err error) {
	for _, m := range members {
		select {
		case m.verdict <- verdict{err: err}:
		default:
		}
	}
}

// separate has each member worked alone.
func separate(members []*member) {
	for _, m := range members {
		m.verdict <- verdict{alone: true}
	}
}
