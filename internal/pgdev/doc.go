// Package pgdev runs a private PostgreSQL server for development and for tests.
//
// Use it when a program needs a real PostgreSQL and none is set up. It takes
// the programs of an installed server and starts a new server in a temporary
// folder. If no server is installed, [Config.Download] can provide the
// programs. Do not use the package for data that must be kept.
//
// Guarantees:
//
//   - Private. The server listens only on a random port of 127.0.0.1, has no
//     unix socket, and requires a random password. No environment variable
//     (PGDATA, PGPORT, DATABASE_URL, LC_ALL, TZ, ...) affects it.
//   - Gone with its parent. When the process that called [Start] ends in any
//     way, a small watchdog stops the server and deletes its folder.
//     [Server.Close] does the same in an orderly way.
//   - Careful. Nothing is signaled, restarted or deleted unless two conditions
//     hold. The folder still contains the marker from Start, and it still
//     belongs to the user that runs the server.
//   - Works for root. PostgreSQL refuses to run as root, so a root caller's
//     server runs as the user "postgres" or "nobody".
//
// By default, the server gives up durability for speed, which suits tests.
// [Config.Durable] keeps durability.
//
//	server, err := pgdev.Start(ctx, pgdev.Config{})
//	if err != nil {
//		return err
//	}
//	defer server.Close()
//	pool, err := pgxpool.New(ctx, server.URL())
//	...
//	err = server.Halt(pgdev.Kill) // how does the code under test react?
//	...
//	err = server.Resume(ctx) // same port, same data
//
// [StartStandby] adds a streaming standby. [Server.Promote] turns it into a
// primary.
//
// The package needs a unix system with /bin/sh. On other systems it compiles,
// and Start returns an error that names the alternatives.
package pgdev
