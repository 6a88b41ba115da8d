package ingest

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lumin-ingest/store"
)

// metrics is everything that the package counts, as one collector. Labels take
// values out of the configuration and the code only, so nobody outside can make
// more of them.
type metrics struct {
	sources func() []*source
	budget  *budget

	deliveries   *prometheus.CounterVec
	seconds      *prometheus.HistogramVec
	conflicts    *prometheus.CounterVec
	lastVerified *prometheus.Desc
	mismatches   *prometheus.Desc
	httpRefused  *prometheus.CounterVec
	bodyMemory   *prometheus.Desc
}

// httpStatuses are the answers that net/http gives without calling a handler.
func httpStatuses() []string { return []string{"400", "417", "431", "501", "505"} }

func newMetrics(sources func() []*source, b *budget) *metrics {
	m := &metrics{
		sources: sources,
		budget:  b,
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lumin_deliveries_total",
			Help: "Requests to the public listener by result; reason is the code of the answer if it was not 200.",
		}, []string{"source", "result", "reason"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "lumin_delivery_seconds",
			Help: "Time from the header of a verified delivery to its answer.",
			// Up to the 30 s after which Lumin no longer waits.
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"source"}),
		conflicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lumin_conflicts_total",
			Help: "Redeliveries whose content differs from the first delivery of the event; kind another_actor: both bodies name a signer, and different ones.",
		}, []string{"source", "kind"}),
		lastVerified: prometheus.NewDesc("lumin_source_last_verified_timestamp_seconds",
			"When a delivery of this source was last verified, also by an earlier program; 0 if none ever was, and absent while that is unknown.", []string{"source"}, nil),
		mismatches: prometheus.NewDesc("lumin_source_mismatches_since_verified",
			"Signature mismatches since a delivery of this source was last verified.", []string{"source"}, nil),
		httpRefused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lumin_http_refused_total",
			Help: "Requests that were refused before they were looked at as deliveries, because they are malformed or their header is too large; by the status of the answer.",
		}, []string{"status"}),
		bodyMemory: prometheus.NewDesc("lumin_body_memory_bytes",
			"Memory of the bodies that are being read or recorded, but for the first 16 KiB of each.", nil, nil),
	}
	for _, status := range httpStatuses() {
		m.httpRefused.WithLabelValues(status)
	}
	return m
}

// refusedByHTTP counts an answer that net/http has given without a handler.
func (m *metrics) refusedByHTTP(status string) {
	if !slices.Contains(httpStatuses(), status) {
		status = "other"
	}
	m.httpRefused.WithLabelValues(status).Inc()
}

// expect has the counters of a source there from the start, so that rates see
// the first delivery. Those of a source that goes stay as they are.
func (m *metrics) expect(source string) {
	for _, status := range []store.Status{store.Recorded, store.Duplicate, store.Unrecognized} {
		m.deliveries.WithLabelValues(source, string(status), "")
	}
	m.seconds.WithLabelValues(source)
	for _, kind := range []string{conflictOfContent, conflictOfActors} {
		m.conflicts.WithLabelValues(source, kind)
	}
}

// Kinds of conflicts.
const (
	conflictOfContent = "content"
	conflictOfActors  = "another_actor"
)

// count counts one answered delivery. Time is kept of verified deliveries only:
// others could be as slow as they like.
func (m *metrics) count(d *delivery, a answer, took time.Duration) {
	source := d.sourceName()
	m.deliveries.WithLabelValues(source, a.result, a.code).Inc()
	if d.keyID != "" {
		m.seconds.WithLabelValues(source).Observe(took.Seconds())
	}
	switch {
	case d.receipt.AnotherActor:
		m.conflicts.WithLabelValues(source, conflictOfActors).Inc()
	case d.receipt.Conflict:
		m.conflicts.WithLabelValues(source, conflictOfContent).Inc()
	}
}

// Describe implements [prometheus.Collector].
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	m.deliveries.Describe(out)
	m.seconds.Describe(out)
	m.conflicts.Describe(out)
	m.httpRefused.Describe(out)
	out <- m.bodyMemory
	out <- m.lastVerified
	out <- m.mismatches
}

// Collect implements [prometheus.Collector].
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	m.deliveries.Collect(out)
	m.seconds.Collect(out)
	m.conflicts.Collect(out)
	m.httpRefused.Collect(out)
	out <- prometheus.MustNewConstMetric(m.bodyMemory, prometheus.GaugeValue, float64(m.budget.used.Load()))
	for _, s := range m.sources() {
		if at, known := s.lastKnown(); known {
			last := 0.0
			if !at.IsZero() {
				last = float64(at.UnixMilli()) / 1000
			}
			out <- prometheus.MustNewConstMetric(m.lastVerified, prometheus.GaugeValue, last, s.name)
		}
		out <- prometheus.MustNewConstMetric(m.mismatches, prometheus.GaugeValue, float64(s.status().MismatchesSince), s.name)
	}
}
