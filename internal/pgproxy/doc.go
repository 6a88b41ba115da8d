// Package pgproxy is a proxy between a client and its PostgreSQL server. It
// breaks a connection when the client sends COMMIT, or another statement that the
// caller chooses. It can also cut, silence, stall or
// delay all connections, and direct new ones to another server, like a failover.
//
// Use it to test how a program answers when it cannot know whether its
// transaction was committed. The proxy recognizes a COMMIT in a simple query or
// in a prepared statement, with or without statements after it, and also when
// the client sends other messages before it without waiting for their replies.
// It does not recognize a COMMIT after other statements in the same query text.
// It does not encrypt.
//
//	proxy, err := pgproxy.Start(databaseURL)
//	if err != nil {
//		return err
//	}
//	defer proxy.Close()
//	proxy.AtCommit(pgproxy.DropReply, 1)
//	pool, err := pgxpool.New(ctx, proxy.URL())
//	... // the next COMMIT on any connection takes effect but gets no answer
package pgproxy
