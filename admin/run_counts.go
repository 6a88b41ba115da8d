package admin

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"lumin-ingest/store"
)

// runCountCollector shows the number of unsettled runs.
type runCountCollector struct {
	backgroundCount[store.RunCount]

	failed  *prometheus.Desc
	pending *prometheus.Desc
}

// NewRunCountCollector returns a collector of lumin_failed_runs and
// lumin_pending_runs, each by job type.
//
// A scrape starts a count, with store.Store.UnsettledRuns, unless the last one
// ended too recently: less than 10 s ago, or less than 20 times its own
// duration, but 150 s at most. The scrape waits up to 2 s for the result. Later
// scrapes show the last result until there is a new one. A result older than 5 min is
// shown only if the next count began before that and has not ended, because a stale
// value could hide a problem.
func NewRunCountCollector(c *Counting, count func(context.Context) ([]store.RunCount, error)) prometheus.Collector {
	return &runCountCollector{
		backgroundCount: backgroundCount[store.RunCount]{counts: c, count: count},
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
