// Package app is the command line of lumin-ingest, and the one place where its
// rooms are wired together. It is importable so that a program with job types
// of its own has a main as short as the stock one:
//
//	func main() {
//		app.Main(func(ctx context.Context, env app.Env) (*worker.Registry, error) {
//			registry := worker.NewRegistry()
//			registry.AddTx(BookRevenue{})
//			return registry, nil
//		})
//	}
//
// The program also has the built-in job types that the environment asks for.
//
// Such a program has all commands of lumin-ingest: serve, dev, migrate, trigger,
// events, conflicts, failures, follow-ups, replay, replays, doctor, retention,
// erase, audit, reconcile, keys, sign, verify, health and version.
package app
