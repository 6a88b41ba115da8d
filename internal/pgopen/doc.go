// Package pgopen turns a database URL into connections. Every pool and every
// single connection of the program is opened here, so that one URL means the
// same everywhere.
//
// Use it instead of calling pgx:
//
//	pool, err := pgopen.Pool(ctx, databaseURL, pgopen.Options{MaxConns: 4, Writes: true})
//	if err != nil {
//		return err // a *pgopen.Refused: the URL cannot work
//	}
//	defer pool.Close()
//
// It guarantees four things. A URL that cannot work is refused before it is
// used, and the error shows no secret part of it. Sessions do not depend on the
// defaults of a role or database. A connection to a server that has become
// read-only is closed at the first error that shows it. Every wait has a bound,
// because both sides notice a peer that is gone.
package pgopen
