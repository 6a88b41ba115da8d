package app

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/cleanpool"
	"lumin-ingest/internal/pgopen"
	"lumin-ingest/internal/tracing"
)

// jobsIdle bounds how long a transaction of Env.DB may be idle. It is generous:
// such a transaction locks no run, and a user's River workers may have no
// timeout. For the same reason its statements have no timeout on the server.
const jobsIdle = 10 * time.Minute

// openJobsDB opens the pool that job types get as Env.DB. Each session is
// cleaned before its next user gets it.
func openJobsDB(ctx context.Context, databaseURL string, maxConns int, tracer *tracing.Tracer) (*pgxpool.Pool, error) {
	like, err := pgopen.Pool(ctx, databaseURL, pgopen.Options{Writes: true, IdleInTransaction: jobsIdle, Tracer: tracer.Queries()})
	if err != nil {
		return nil, err
	}
	defer like.Close()
	return cleanpool.New(ctx, like, maxConns)
}
