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
	return c.last
}

// recount counts once, when it is its turn. After a quick failure, the next scrape
// tries again immediately. A slow failure delays the next count like a slow success.
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
	if err == nil || took > scrapeTimeout {
		c.next = c.next.Add(max(countInterval, countPauseFactor*took))
	}
	c.counting = nil
	close(done)
}
