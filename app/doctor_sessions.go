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
	conn, err := pgopen.OwnSession(ctx, pool, time.Minute)
	if err == nil {
		_ = conn.Close(ctx) // it was only a test
	}
	if !errors.Is(err, pgopen.ErrPooler) {
		return nil
	}
	return []finding{{
		"sessions", warning, "a connection pooler is in front of the server, so programs hold no locks",
		"connect directly: otherwise the running jobs of a killed program wait for River's rescue, a minute or longer; transaction mode is not supported at all",
	}}
}
