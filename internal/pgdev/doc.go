// Package pgdev runs a private PostgreSQL server for development and for tests.
//
// Use it where a program needs a real PostgreSQL and nobody has set one up: it takes the programs of an installed server, or
// downloads some, and starts a server of its own in a temporary folder. Do not use it for data that anybody wants to keep.
//
// What it guarantees:
//
//   - Private. The server listens on a random port of 127.0.0.1 only, has no unix socket, and wants a random password. Nothing
//     in the environment (PGDATA, PGPORT, DATABASE_URL, LC_ALL, TZ, ...) reaches it.
//   - Gone with its parent. When the process that called [Start] ends, however it ends, a small watchdog stops the server and
//     deletes its folder. [Server.Close] does the same in an orderly way.
//   - Careful. Nothing is signaled, restarted or deleted unless the folder still carries the marker that Start put there and
//     still belongs to the user that the server runs as.
//   - Root is welcome. PostgreSQL refuses to run as root, so a root caller's server runs as "postgres" or "nobody".
//
// A server that only tests use gives up durability for speed; [Config.Durable] keeps it.
//
//	server, err := pgdev.Start(ctx, pgdev.Config{})
//	if err != nil {
//		return err
//	}
//	defer server.Close()
//	pool, err := pgxpool.New(ctx, server.URL())
//	...
//	err = server.Halt(pgdev.Kill) // what does the code under test do now?
//	...
//	err = server.Resume(ctx) // same port, same data
//
// [StartStandby] adds a streaming standby, which [Server.Promote] makes a primary.
//
// It needs a unix system with /bin/sh. Elsewhere the package compiles and Start returns an error that says what to do instead.
package pgdev
