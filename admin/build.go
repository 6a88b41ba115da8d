package admin

import (
	"cmp"

	"github.com/prometheus/client_golang/prometheus"

	"lumin-ingest/internal/version"
)

// NewBuildCollector returns a collector of lumin_build_info, which is always 1.
// Its labels are the version and revision of the main module and the Go
// version.
func NewBuildCollector() prometheus.Collector {
	build := version.Read()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "lumin_build_info",
		Help: "Always 1; the labels identify the build.",
		ConstLabels: prometheus.Labels{
			"version": build.Version, "revision": cmp.Or(build.Revision, "unknown"), "goversion": build.Go,
		},
	})
	info.Set(1)
	return info
}
