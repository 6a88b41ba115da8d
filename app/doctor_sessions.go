package app

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/pgopen"
)

// examineSessions reports a connection pooler. A running program makes the same
// test before it takes its lock.
func examineSessions(ctx context.Context, pool *pgxpool.Pool) []finding {
	conn, err := pgopen.OwnSession(ctx, pool, time.Minute, time.Minute)
	if err == nil {
		_ = conn.Close(ctx) // it was only a test
	}
	if !errors.Is(err, pgopen.ErrPooler) {
		return nil
	}
	return []finding{{
		"sessions", warning, "a connection pooler is in front of the server, so programs hold no lock",
		"connect to PostgreSQL directly: behind a pooler, the running jobs of a killed program wait until River rescues them; transaction mode is not supported at all",
	}}
}
