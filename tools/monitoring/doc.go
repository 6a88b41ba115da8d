// Package monitoring tests the files in docs/monitoring with Prometheus's own
// parsers: the alert rules and the dashboard. It is a module of its own, because
// Prometheus is large.
//
// With a Prometheus in the path, or in the variable PROMETHEUS, the tests also let
// it scrape a running service, and send it each query. Debian's package prometheus
// will do.
package monitoring
