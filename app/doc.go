// Package app is the command line of lumin-ingest. Import it to build a program
// with job types of its own. Its main is as short as that of lumin-ingest:
//
//	func main() {
//		app.Main(func(ctx context.Context, env app.Env) (*worker.Registry, error) {
//			registry := worker.NewRegistry()
//			registry.AddTx(BookRevenue{})
//			return registry, nil
//		})
//	}
//
// The program also has the built-in job types that the environment enables.
//
// Such a program has all commands of lumin-ingest: serve, dev, migrate,
// trigger, events, conflicts, failures, lanes, follow-ups, replay, replays,
// queues, status, alerts, doctor, retention, erase, audit, audit-log, token,
// reconcile, recover, keys, sign, verify, health and version.
package app
