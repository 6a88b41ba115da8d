package admin

import (
	"context"
	"sync"
	"time"
)

const (
	// Counting millions of runs takes seconds. Between two counts, at least
	// countInterval passes, and at least countPauseFactor times the duration of
	// the last count. Counting therefore takes less than a twentieth of the
	// time.
	countInterval    = 10 * time.Second
	countPauseFactor = 20

	// countTimeout limits one count. countMaxAge is how long its result is
	// shown.
	countTimeout = time.Minute
	countMaxAge  = 5 * time.Minute
)

// backgroundCount counts in the background when a scrape asks for it, and keeps
// the last result.
type backgroundCount[T any] struct {
	ctx   context.Context //nolint:containedctx // Collect receives no context, and a count must end with the program
	count func(context.Context) ([]T, error)

	mu        sync.Mutex
	counting  chan struct{} // closed when the current count ends; nil: none is running
	next      time.Time     // earliest start of the next count
	counts    []T
	countedAt time.Time // when the count that produced counts started
}

// latest returns the newest result that is available within scrapeTimeout.
func (c *backgroundCount[T]) latest() []T {
	c.mu.Lock()
	if c.counting == nil && !time.Now().Before(c.next) {
		c.counting = make(chan struct{})
		go c.recount(c.counting)
	}
	counting := c.counting
	c.mu.Unlock()
	if counting != nil {
		select {
		case <-counting:
		case <-time.After(scrapeTimeout):
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.countedAt) > countMaxAge {
		return nil
	}
	return c.counts
}

// recount counts once. After a quick failure, the next scrape tries again
// immediately. A slow failure delays the next count like a slow success.
func (c *backgroundCount[T]) recount(done chan struct{}) {
	ctx, cancel := context.WithTimeout(c.ctx, countTimeout)
	defer cancel()
	start := time.Now()
	counts, err := c.count(ctx)
	took := time.Since(start)

	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.counts, c.countedAt = counts, start
	}
	c.next = time.Now()
	if err == nil || took > scrapeTimeout {
		c.next = c.next.Add(max(countInterval, countPauseFactor*took))
	}
	c.counting = nil
	close(done)
}
