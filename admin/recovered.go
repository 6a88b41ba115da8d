package admin

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// recoveredCollector shows the number of recovered events.
type recoveredCollector struct {
	backgroundCount[store.RecoveredCount]

	events *prometheus.Desc
}

// NewRecoveredCollector returns a collector of lumin_recovered_events, which count
// returns. It counts as seldom as [NewRunCountCollector] does. A type without
// recovered events has the value 0, so that the first one is an increase.
func NewRecoveredCollector(c *Counting, count func(context.Context) ([]store.RecoveredCount, error)) prometheus.Collector {
	return &recoveredCollector{
		backgroundCount: backgroundCount[store.RecoveredCount]{counts: c, count: withZeros(count)},
		events: prometheus.NewDesc("lumin_recovered_events",
			"Stored events that were recovered from Lumin's API, by type. Every program on this database reports the same value.", []string{"event_type"}, nil),
	}
}

// withZeros adds the types that have no recovered events.
func withZeros(count func(context.Context) ([]store.RecoveredCount, error)) func(context.Context) ([]store.RecoveredCount, error) {
	return func(ctx context.Context) ([]store.RecoveredCount, error) {
		counts, err := count(ctx)
		if err != nil {
			return nil, err
		}
		byType := map[string]int64{}
		for _, c := range counts {
			byType[c.EventType] = c.Events
		}
		var all []store.RecoveredCount
		for _, t := range lumin.EventTypes() {
			if t.Recoverable() {
				all = append(all, store.RecoveredCount{EventType: string(t), Events: byType[string(t)]})
			}
		}
		return all, nil
	}
}

// Describe implements [prometheus.Collector].
func (c *recoveredCollector) Describe(out chan<- *prometheus.Desc) { out <- c.events }

// Collect implements [prometheus.Collector].
func (c *recoveredCollector) Collect(out chan<- prometheus.Metric) {
	for _, n := range c.latest() {
		out <- prometheus.MustNewConstMetric(c.events, prometheus.GaugeValue, float64(n.Events), n.EventType)
	}
}
