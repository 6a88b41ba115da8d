package admin

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"lumin-ingest/store"
)

// lateCollector shows the late events that wait for a decision.
type lateCollector struct {
	backgroundCount[store.WaitingLate]

	waiting *prometheus.Desc
}

// NewLateCollector returns a collector of lumin_waiting_late_events.
//
// A scrape starts a count, with store.CountWaitingLate, under the same limits as
// [NewRunCountCollector].
func NewLateCollector(c *Counting, count func(context.Context) (store.WaitingLate, error)) prometheus.Collector {
	return &lateCollector{
		backgroundCount: backgroundCount[store.WaitingLate]{counts: c, count: single(count)},
		waiting: prometheus.NewDesc("lumin_waiting_late_events",
			"Late events that no job type has got and that were not dismissed, among the newest 5,000. Every program on this database reports the same value.", nil, nil),
	}
}

// Describe implements [prometheus.Collector].
func (c *lateCollector) Describe(out chan<- *prometheus.Desc) { out <- c.waiting }

// Collect implements [prometheus.Collector].
func (c *lateCollector) Collect(out chan<- prometheus.Metric) {
	for _, w := range c.latest() {
		out <- prometheus.MustNewConstMetric(c.waiting, prometheus.GaugeValue, float64(w.Events))
	}
}
