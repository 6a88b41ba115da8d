package admin

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// scrapeTimeout limits the time that a scrape waits for the database. It is
// well below Prometheus' default scrape timeout of 10 s, so all other metrics
// still arrive.
const scrapeTimeout = 2 * time.Second

// runCollector queries the database at each scrape.
type runCollector struct {
	pendingAge func(context.Context) (time.Duration, error)

	oldestPending *prometheus.Desc
	databaseUp    *prometheus.Desc
}

// NewRunCollector returns a collector of two metrics that come from the
// database. At each scrape it calls pendingAge, usually
// store.Store.OldestPending, and reports:
//
//   - lumin_oldest_pending_run_age_seconds, which is 0 if no run is pending. It
//     is omitted if pendingAge fails or takes longer than 2 s, because a stale
//     value or a zero could hide a problem.
//   - lumin_database_up, which is 1 if pendingAge succeeded and 0 otherwise.
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
