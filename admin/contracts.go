package admin

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

// contractCollector shows the number of contracts that should be downloadable.
type contractCollector struct {
	backgroundCount[int64]

	undownloadable *prometheus.Desc
}

// NewContractCollector returns a collector of lumin_undownloadable_contracts.
//
// A scrape starts a count, usually with alerts.CountUndownloadable, under the same
// limits as [NewRunCountCollector].
func NewContractCollector(c *Counting, count func(context.Context) (int64, error)) prometheus.Collector {
	one := func(ctx context.Context) ([]int64, error) {
		n, err := count(ctx)
		return []int64{n}, err
	}
	return &contractCollector{
		backgroundCount: backgroundCount[int64]{counts: c, count: one},
		undownloadable: prometheus.NewDesc("lumin_undownloadable_contracts",
			"Signature requests that were approved between an hour and 25 hours ago, or have an open alert, and have no downloadable event, of sources that have had one. Every program on this database reports the same value.", nil, nil),
	}
}

// Describe implements [prometheus.Collector].
func (c *contractCollector) Describe(out chan<- *prometheus.Desc) { out <- c.undownloadable }

// Collect implements [prometheus.Collector].
func (c *contractCollector) Collect(out chan<- prometheus.Metric) {
	for _, n := range c.latest() {
		out <- prometheus.MustNewConstMetric(c.undownloadable, prometheus.GaugeValue, float64(n))
	}
}
