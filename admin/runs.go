package admin

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// scrapeTimeout bounds what a scrape asks of the database: well below the 10 s
// that Prometheus waits by default, so that all other metrics still arrive.
const scrapeTimeout = 2 * time.Second

// runCollector asks the database at each scrape.
type runCollector struct {
	pendingAge func(context.Context) (time.Duration, error)

	oldestPending *prometheus.Desc
	databaseUp    *prometheus.Desc
}

// NewRunCollector returns a collector of what only the database knows. At each
// scrape it asks pendingAge, store.Store.OldestPending, and reports
//
//   - lumin_oldest_pending_run_age_seconds, left out when there was no answer
//     within 2 s, because a stale figure or a zero would look like good news;
//   - lumin_database_up, 1 if there was one and 0 if not.
//
// The age is 0 when no run is pending.
func NewRunCollector(pendingAge func(context.Context) (time.Duration, error)) prometheus.Collector {
	return &runCollector{
		pendingAge: pendingAge,
		oldestPending: prometheus.NewDesc("lumin_oldest_pending_run_age_seconds",
			"How long the oldest pending run has been pending; 0 if none is.", nil, nil),
		databaseUp: prometheus.NewDesc("lumin_database_up",
			"Whether the database answered this scrape (1) or not (0).", nil, nil),
	}
}

// Describe implements [prometheus.Collector].
func (c *runCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.oldestPending
	out <- c.databaseUp
}

// Collect implements [prometheus.Collector].
func (c *runCollector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	age, err := c.pendingAge(ctx)
	if err != nil {
		out <- prometheus.MustNewConstMetric(c.databaseUp, prometheus.GaugeValue, 0)
		return
	}
	out <- prometheus.MustNewConstMetric(c.databaseUp, prometheus.GaugeValue, 1)
	out <- prometheus.MustNewConstMetric(c.oldestPending, prometheus.GaugeValue, age.Seconds())
}
