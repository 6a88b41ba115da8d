package app

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/store"
)

// openJobsDB makes the pool that job types get as Env.DB. What they leave in a
// session, such as settings or locks, meets no one else.
func openJobsDB(ctx context.Context, databaseURL string, maxConns int) (*pgxpool.Pool, error) {
	like, err := store.OpenPool(ctx, databaseURL, maxConns)
	if err != nil {
		return nil, err
	}
	defer like.Close()
	return store.NewCleanPool(ctx, like, maxConns)
}
