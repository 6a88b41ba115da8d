// Package pgopen turns a database URL into connections. Every pool and every
// single connection of the program is opened here, so that one URL means the
// same everywhere.
//
// Use it instead of calling pgx:
//
//	pool, err := pgopen.Pool(ctx, databaseURL, pgopen.Options{MaxConns: 4, Writes: true})
//	if err != nil {
//		return err // pgopen.Refused: the URL cannot work; it was not used yet
//	}
//	defer pool.Close()
//
// It guarantees four things. A URL that cannot work is refused before anything
// is done, without showing any part of it. Sessions do not depend on the
// defaults of a role or database. A connection to a server that turned
// read-only is closed as soon as that shows, wherever it is used. And every
// wait has a bound: both sides notice a peer that is gone.
package pgopen
