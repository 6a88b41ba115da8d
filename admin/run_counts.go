package admin

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lumin-ingest/store"
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

// runCountCollector counts runs in the background and shows the last result.
type runCountCollector struct {
	ctx   context.Context //nolint:containedctx // Collect receives no context, and a count must end with the program
	count func(context.Context) ([]store.RunCount, error)

	failed  *prometheus.Desc
	pending *prometheus.Desc

	mu        sync.Mutex
	counting  chan struct{} // closed when the current count ends; nil: none is running
	next      time.Time     // earliest start of the next count
	counts    []store.RunCount
	countedAt time.Time // when the count that produced counts started
}

// NewRunCountCollector returns a collector of lumin_failed_runs and
// lumin_pending_runs, each by job type.
//
// A scrape starts a count, with store.Store.UnsettledRuns, unless the last one
// ended too recently: less than 10 s ago, or less than 20 times its own
// duration. The scrape waits up to 2 s for the result. Later scrapes show the
// last result until there is a new one. A result older than 5 min is not shown,
// because a stale value could hide a problem. The end of ctx ends counting.
func NewRunCountCollector(ctx context.Context, count func(context.Context) ([]store.RunCount, error)) prometheus.Collector {
	return &runCountCollector{
		ctx: ctx, count: count,
		failed: prometheus.NewDesc("lumin_failed_runs",
			"Runs that failed permanently and can be replayed, by job type. Every program on this database reports the same value.", []string{"kind"}, nil),
		pending: prometheus.NewDesc("lumin_pending_runs",
			"Runs that are queued, running or being retried, by job type. Every program on this database reports the same value.", []string{"kind"}, nil),
	}
}

// Describe implements [prometheus.Collector].
func (c *runCountCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.failed
	out <- c.pending
}

// Collect implements [prometheus.Collector].
func (c *runCountCollector) Collect(out chan<- prometheus.Metric) {
	for _, n := range c.latest() {
		desc := c.failed
		if n.State == "pending" {
			desc = c.pending
		}
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(n.Runs), n.Kind)
	}
}

// latest returns the newest result that is available within scrapeTimeout.
func (c *runCountCollector) latest() []store.RunCount {
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
func (c *runCountCollector) recount(done chan struct{}) {
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
