package admin

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"lumin-ingest/store/lanes"
)

// laneCollector shows the number of held lanes and the age of the oldest.
type laneCollector struct {
	backgroundCount[lanes.Held]

	held   *prometheus.Desc
	oldest *prometheus.Desc
}

// NewLaneCollector returns a collector of lumin_held_lanes and
// lumin_oldest_held_lane_age_seconds, each by job type. Only ordered job types
// that hold a lane after a failure have them.
//
// A scrape starts a count, usually with lanes.CountHeld, under the same limits as
// [NewRunCountCollector].
func NewLaneCollector(c *Counting, count func(context.Context) ([]lanes.Held, error)) prometheus.Collector {
	return &laneCollector{
		backgroundCount: backgroundCount[lanes.Held]{counts: c, count: count},
		held: prometheus.NewDesc("lumin_held_lanes",
			"Signature requests whose later events wait for a failed run, by ordered job type; counted among up to 10000 failed runs of each. Every program on this database reports the same value.", []string{"kind"}, nil),
		oldest: prometheus.NewDesc("lumin_oldest_held_lane_age_seconds",
			"How long ago the failed run that holds a lane failed, of the oldest counted lane, by ordered job type; 0 if none is held.", []string{"kind"}, nil),
	}
}

// Describe implements [prometheus.Collector].
func (c *laneCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.held
	out <- c.oldest
}

// Collect implements [prometheus.Collector].
func (c *laneCollector) Collect(out chan<- prometheus.Metric) {
	for _, h := range c.latest() {
		out <- prometheus.MustNewConstMetric(c.held, prometheus.GaugeValue, float64(h.Lanes), h.Kind)
		out <- prometheus.MustNewConstMetric(c.oldest, prometheus.GaugeValue, h.Age, h.Kind)
	}
}
