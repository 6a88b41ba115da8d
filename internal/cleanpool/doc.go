// Package cleanpool makes connection pools for the code of users, which may leave
// anything behind in a session: settings, another role, locks, temporary tables,
// cursors, prepared statements.
//
// Use it for each pool whose connections are handed to such code:
//
//	pool, err := cleanpool.New(ctx, like, 8)
//
// A transaction of [CommitCleans] cleans in the round trip of its commit. If no code
// of users has run since, [Mark] the connection, so that it is not cleaned twice.
//
// What it guarantees: a connection is clean before another user gets it, or it is
// closed. Prepared statements of pgx are kept, as long as the server has them.
package cleanpool
