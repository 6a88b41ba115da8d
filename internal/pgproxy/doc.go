// Package pgproxy stands between a client and its PostgreSQL server and breaks a
// connection at the one moment that matters: when the client says COMMIT. It can
// also cut, silence or delay all connections, and lead new ones to another server,
// as a failover does.
//
// Use it in tests of what a program answers while it cannot know whether its
// transaction was committed. It understands as much of PostgreSQL's protocol as it
// takes to see a COMMIT, sent as a query of its own or as a prepared statement; one
// among other statements in a single query text goes unseen. It does not encrypt.
//
//	proxy, err := pgproxy.Start(databaseURL)
//	if err != nil {
//		return err
//	}
//	defer proxy.Close()
//	proxy.AtCommit(pgproxy.DropReply, 1)
//	pool, err := pgxpool.New(ctx, proxy.URL())
//	... // the next COMMIT on any connection takes effect and is not answered
package pgproxy
