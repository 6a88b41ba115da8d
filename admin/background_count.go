package admin

import (
	"context"
	"sync"
	"time"
)

const (
	// Counting millions of runs takes seconds. Between two counts, at least
	// countInterval passes, and countPauseFactor times the duration of the last
	// count, but no more than countMaxPause. Counting therefore takes less than a
	// twentieth of the time, unless a count takes longer than 7.5 s.
	countInterval    = 10 * time.Second
	countPauseFactor = 20

	// countTimeout limits one count. countMaxAge is how long its result is shown,
	// or longer if the next count is under way then. It has room for the slowest
	// count, the longest pause and the time until the next scrape, so that a slow
	// count leaves no gap: an alert rule with "for" begins anew after a gap.
	countTimeout  = time.Minute
	countMaxAge   = 5 * time.Minute
	countMaxPause = countMaxAge / 2
)

// Counting runs the counts of all collectors of a program, a few at once. It is safe
// for concurrent use.
type Counting struct {
	ctx   context.Context //nolint:containedctx // Collect receives no context, and a count must end with the program
	turns chan struct{}   // holds a value for each count that runs
}

// NewCounting returns a Counting that runs up to atOnce counts, at least one, until
// ctx ends. The other users of the same pool need connections besides these.
func NewCounting(ctx context.Context, atOnce int) *Counting {
	return &Counting{ctx: ctx, turns: make(chan struct{}, max(1, atOnce))}
}

// backgroundCount counts in the background when a scrape asks for it, and keeps
// the last result.
type backgroundCount[T any] struct {
	counts *Counting
	count  func(context.Context) ([]T, error)

	mu        sync.Mutex
	counting  chan struct{} // closed when the current count ends; nil: none is running or waits
	next      time.Time     // earliest start of the next count
	last      []T
	countedAt time.Time // when the count that produced last started
}

// latest returns the newest result that is available within scrapeTimeout.
func (c *backgroundCount[T]) latest() []T {
	c.mu.Lock()
	c.forgetOld()
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
	c.forgetOld()
	return c.last
}

// forgetOld drops the last result if it is too old and no count is under way, which
// will replace it. c.mu must be held.
func (c *backgroundCount[T]) forgetOld() {
	if c.counting == nil && time.Since(c.countedAt) > countMaxAge {
		c.last = nil
	}
}

// recount counts once, when it is its turn. After a quick failure, the next scrape
// tries again immediately; after a slow one, the next count waits as long as it took.
func (c *backgroundCount[T]) recount(done chan struct{}) {
	c.counts.turns <- struct{}{} // each count ends in time
	defer func() { <-c.counts.turns }()
	ctx, cancel := context.WithTimeout(c.counts.ctx, countTimeout)
	defer cancel()
	start := time.Now()
	counts, err := c.count(ctx)
	took := time.Since(start)

	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.last, c.countedAt = counts, start
	}
	c.next = time.Now()
	switch {
	case err == nil:
		c.next = c.next.Add(min(max(countInterval, countPauseFactor*took), countMaxPause))
	case took > scrapeTimeout:
		c.next = c.next.Add(max(countInterval, took))
	}
	c.counting = nil
	close(done)
}
