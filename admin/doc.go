// Package admin serves health checks and metrics to operators and monitoring
// systems, and the routes of a dashboard if there is one.
//
// Use it as the handler of a second listener that the internet cannot reach,
// because these three paths require no authentication:
//
//   - /healthz reports only that the process is running. It does not check the
//     database, because a restart does not help while the database is down.
//   - /readyz runs every [Check] and reports each failure with its reason.
//   - /metrics serves the metrics in Prometheus format.
//
// Guarantees:
//
//   - /readyz answers within about 3.2 s, even if a check never returns.
//   - A check that panics counts as failed.
//   - If the database is down, /metrics still answers, at most 2 s late. Only
//     the metrics that come from the database are missing.
//
// Errors of checks are shown unchanged. They must not contain secrets or event
// data.
//
//	handler := admin.New(admin.Config{
//		Ready:    []admin.Check{{Name: "database", Probe: pool.Ping}},
//		Sources:  sources,
//		Gatherer: registry,
//		Logger:   logger,
//	})
//	counting := admin.NewCounting(ctx, 2)
//	registry.MustRegister(admin.NewRunCollector(store.OldestPending),
//		admin.NewRunCountCollector(counting, store.UnsettledRuns), admin.NewLaneCollector(counting, heldLanes),
//		admin.NewBuildCollector())
//	server := admin.NewServer(handler)
//	server.Addr = "127.0.0.1:8081"
//	return server.ListenAndServe()
package admin
