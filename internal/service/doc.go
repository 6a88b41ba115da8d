// Package service is the running program: it receives deliveries, runs jobs, or
// does both, until it is stopped. The commands serve and dev run it.
//
//	s, err := service.New(ctx, service.Config{
//		Logger: logger, DatabaseURL: url, Registry: registry, JobsDB: pool,
//		Ingest: true, Sources: keyrings, Public: service.Address{HostPort: ":8080"},
//		Work: true, MaxWorkers: 16, Admin: service.Address{HostPort: "127.0.0.1:8081"},
//	})
//	if err != nil {
//		return err
//	}
//	return s.Run(ctx)
//
// Its life, in the order of its files:
//
//   - service.go: [New] connects the parts and opens the listeners;
//     [Service.Run] runs them. pools.go: the connections of each part.
//   - start.go: the service waits for the database, then starts the workers.
//   - ready.go: /readyz while it runs. heartbeat.go and rotate.go: its row in
//     lumin.programs, and new secrets without a restart.
//   - stop.go: SIGTERM, from the drain delay to the last connection.
//
// Guarantees:
//
//   - The listeners open before the database is ready. Until then, deliveries
//     are answered 503, and /readyz gives the reason.
//   - Recording waits for no other part: it has connections of its own.
//   - Stopping loses nothing that was acknowledged: deliveries in flight are
//     recorded and answered before the program ends.
//   - Each wait while stopping has a bound. Their sum is 51 s with the default
//     drain delay.
package service
