package admin

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lumin-ingest/store"
)

const (
	// Counting millions of runs takes seconds. It is done at most every ten seconds,
	// and takes at most a twentieth of the time.
	countEvery = 10 * time.Second
	countShare = 20

	// countTimeout bounds one counting, and countKept is how long its result counts.
	countTimeout = time.Minute
	countKept    = 5 * time.Minute
)

// runCountCollector counts runs in the background and shows the last result.
type runCountCollector struct {
	ctx   context.Context //nolint:containedctx // a scrape has none, and must not keep a program from stopping
	count func(context.Context) ([]store.RunCount, error)

	failed  *prometheus.Desc
	pending *prometheus.Desc

	mu       sync.Mutex
	counting chan struct{} // is closed when the present counting ends; nil: there is none
	next     time.Time     // when to count again
	counts   []store.RunCount
	at       time.Time // of counts
}

// NewRunCountCollector returns a collector of lumin_failed_runs and
// lumin_pending_runs, each by job type. A scrape starts to count, with
// store.Store.UnsettledRuns, if the last result is older than 10 s and 20 times as
// old as counting took, and waits up to 2 s for it. Later scrapes show that result
// until there is a new one; after 5 min without one they show none, because a stale
// figure would look like good news. The end of ctx ends counting.
func NewRunCountCollector(ctx context.Context, count func(context.Context) ([]store.RunCount, error)) prometheus.Collector {
	return &runCountCollector{
		ctx: ctx, count: count,
		failed: prometheus.NewDesc("lumin_failed_runs",
			"Runs that have failed for good and can be replayed, by job type. The same from every program on this database.", []string{"kind"}, nil),
		pending: prometheus.NewDesc("lumin_pending_runs",
			"Runs that wait, run or are tried again, by job type. The same from every program on this database.", []string{"kind"}, nil),
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

// latest is the newest result that is to be had in the time of a scrape.
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
	if time.Since(c.at) > countKept {
		return nil
	}
	return c.counts
}

// recount counts once. After a failure the next scrape tries again.
func (c *runCountCollector) recount(done chan struct{}) {
	ctx, cancel := context.WithTimeout(c.ctx, countTimeout)
	defer cancel()
	start := time.Now()
	counts, err := c.count(ctx)
	took := time.Since(start)

	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.counts, c.at = counts, start
	}
	c.next = time.Now()
	if err == nil || took > scrapeTimeout {
		c.next = c.next.Add(max(countEvery, countShare*took))
	}
	c.counting = nil
	close(done)
}
