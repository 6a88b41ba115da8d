package admin

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"lumin-ingest/store"
)

// databaseCollector shows how full the server is.
type databaseCollector struct {
	backgroundCount[store.DatabaseLoad]

	sessions, maxSessions, bytes *prometheus.Desc
}

// NewDatabaseCollector returns a collector of lumin_database_connections,
// lumin_database_connections_limit and lumin_database_size_bytes.
//
// A scrape starts a measurement, with store.Store.DatabaseLoad, under the same
// limits as [NewRunCountCollector].
func NewDatabaseCollector(c *Counting, measure func(context.Context) (store.DatabaseLoad, error)) prometheus.Collector {
	return &databaseCollector{
		backgroundCount: backgroundCount[store.DatabaseLoad]{counts: c, count: single(measure)},
		sessions: prometheus.NewDesc("lumin_database_connections",
			"Connections of all users to the PostgreSQL server.", nil, nil),
		maxSessions: prometheus.NewDesc("lumin_database_connections_limit",
			"Connections that the PostgreSQL server gives to ordinary users.", nil, nil),
		bytes: prometheus.NewDesc("lumin_database_size_bytes",
			"Size of the database, including other schemas than lumin.", nil, nil),
	}
}

// single turns a function that returns one value into one that counts.
func single[T any](one func(context.Context) (T, error)) func(context.Context) ([]T, error) {
	return func(ctx context.Context) ([]T, error) {
		value, err := one(ctx)
		return []T{value}, err
	}
}

// Describe implements [prometheus.Collector].
func (c *databaseCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.sessions
	out <- c.maxSessions
	out <- c.bytes
}

// Collect implements [prometheus.Collector].
func (c *databaseCollector) Collect(out chan<- prometheus.Metric) {
	for _, l := range c.latest() {
		out <- prometheus.MustNewConstMetric(c.sessions, prometheus.GaugeValue, float64(l.Sessions))
		out <- prometheus.MustNewConstMetric(c.maxSessions, prometheus.GaugeValue, float64(l.MaxSessions))
		out <- prometheus.MustNewConstMetric(c.bytes, prometheus.GaugeValue, float64(l.Bytes))
	}
}
