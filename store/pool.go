package store

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/pgopen"
)

// OpenPool returns a pool of at most maxConns connections. It starts without any.
// Sessions do not depend on the defaults of a role or database: texts are UTF-8, and
// the isolation level is READ COMMITTED. Our statements, River's and those of job
// types rely on that.
//
// These settings are parameters of the startup packet, and so are the timeouts of
// the session: RESET ALL and DISCARD ALL return to them. Behind PgBouncer, which
// refuses such parameters, they are set after connecting, and pgopen.AfterReset is
// the SQL that sets them again.
//
// The error does not show databaseURL, which may hold a password.
func OpenPool(ctx context.Context, databaseURL string, maxConns int) (*pgxpool.Pool, error) {
	return pgopen.Pool(ctx, databaseURL, pgopen.Options{MaxConns: maxConns})
}
