// Package admin answers operators and their machines: is the process alive, is
// it able to work, and how is it doing.
//
// Use it as the handler of a second listener that the internet cannot reach.
// What it serves never asks for a token:
//
//   - /healthz says that the process runs, and nothing else: a program that waits
//     for its database must not be restarted for it.
//   - /readyz asks every [Check] and says which one failed and why.
//   - /metrics is Prometheus' page.
//
// What it guarantees:
//
//   - /readyz answers within 3 s and a little, even if a check never returns.
//   - A check that panics is a check that failed.
//   - A database that is away costs /metrics the figures that come out of it
//     and 2 s, no more.
//
// It shows check errors as they are, so they must not hold secrets or data of
// events.
//
//	handler := admin.New(admin.Config{
//		Ready:    []admin.Check{{Name: "database", Probe: pool.Ping}},
//		Sources:  sources,
//		Gatherer: registry,
//		Logger:   logger,
//	})
//	registry.MustRegister(admin.NewRunCollector(store.OldestPending),
//		admin.NewRunCountCollector(ctx, store.UnsettledRuns), admin.NewBuildCollector())
//	server := admin.NewServer(handler)
//	server.Addr = "127.0.0.1:8081"
//	return server.ListenAndServe()
package admin
