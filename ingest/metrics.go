package ingest

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lumin-ingest/store"
)

// metrics is one collector for all metrics of the package. Label values come
// only from the configuration and the code, so callers cannot create new
// series.
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

	handshakesFailed prometheus.Counter
}

// httpStatuses returns the statuses of responses that net/http and httpguard
// send without calling a handler.
func httpStatuses() []string { return []string{"400", "417", "431", "501", "505"} }

func newMetrics(sources func() []*source, b *budget) *metrics {
	m := &metrics{
		sources: sources,
		budget:  b,
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lumin_deliveries_total",
			Help: "Requests to the public listener by result. The label reason is the code of a response other than 200.",
		}, []string{"source", "result", "reason"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "lumin_delivery_seconds",
			Help: "Time from the header of a verified delivery to its response.",
			// Lumin stops waiting after 30 s.
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"source"}),
		conflicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lumin_conflicts_total",
			Help: "Redeliveries whose content differs from the first delivery of the event. Kind another_actor: the two bodies name different signers.",
		}, []string{"source", "kind"}),
		lastVerified: prometheus.NewDesc("lumin_source_last_verified_timestamp_seconds",
			"When a delivery of this source was last verified, including by earlier programs. 0: never. Absent: not known yet.", []string{"source"}, nil),
		mismatches: prometheus.NewDesc("lumin_source_mismatches_since_verified",
			"Signature mismatches since the last verified delivery of this source.", []string{"source"}, nil),
		httpRefused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lumin_http_refused_total",
			Help: "Requests that the HTTP server refused before any handler ran, such as malformed ones or those with a header that is too large, by status.",
		}, []string{"status"}),
		handshakesFailed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lumin_tls_handshakes_failed_total",
			Help: "Connections that ended before their TLS handshake did, such as those of callers that do not accept the certificate.",
		}),
		bodyMemory: prometheus.NewDesc("lumin_body_memory_bytes",
			"Memory of the bodies that are being read or recorded, without the first 16 KiB of each.", nil, nil),
	}
	for _, status := range httpStatuses() {
		m.httpRefused.WithLabelValues(status)
	}
	return m
}

// refusedByHTTP counts a response that net/http sent without calling a handler.
func (m *metrics) refusedByHTTP(status string) {
	if !slices.Contains(httpStatuses(), status) {
		status = "other"
	}
	m.httpRefused.WithLabelValues(status).Inc()
}

// expect creates the counters of a source with 0, so that rates include the
// first delivery, and alerts the first that is unavailable. The counters of a removed source stay.
func (m *metrics) expect(source string) {
	for _, status := range []store.Status{store.Recorded, store.Duplicate, store.Unrecognized, store.Late} {
		m.deliveries.WithLabelValues(source, string(status), "")
	}
	for _, err := range []error{errTooManyBodies, store.ErrOverloaded, store.ErrUnavailable, store.ErrTimeout, errPanicked} {
		a := answerTo(store.Receipt{}, err)
		m.deliveries.WithLabelValues(source, a.result, a.code)
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

// count counts one answered delivery. It measures only verified deliveries,
// because other callers could distort the times at will.
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
	m.handshakesFailed.Describe(out)
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
	m.handshakesFailed.Collect(out)
	out <- prometheus.MustNewConstMetric(m.bodyMemory, prometheus.GaugeValue, float64(m.budget.used.Load()))
	for _, s := range m.sources() {
		if at, known := s.lastVerifiedAt(); known {
			last := 0.0
			if !at.IsZero() {
				last = float64(at.UnixMilli()) / 1000
			}
			out <- prometheus.MustNewConstMetric(m.lastVerified, prometheus.GaugeValue, last, s.name)
		}
		out <- prometheus.MustNewConstMetric(m.mismatches, prometheus.GaugeValue, float64(s.status().MismatchesSince), s.name)
	}
}
