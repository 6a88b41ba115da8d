package history

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/query"
)

// noteBacklogSQL keeps the highest age of a minute, whichever program finds it. It
// reads the first entry of the index of pending runs.
const noteBacklogSQL = `
INSERT INTO lumin.backlog_minutes AS b (minute, oldest_pending_seconds)
SELECT date_trunc('minute', now()), greatest(coalesce(extract(epoch FROM now() - min(r.pending_since)), 0), 0)
FROM lumin.runs r WHERE r.state = 'pending'
ON CONFLICT (minute) DO UPDATE SET oldest_pending_seconds = excluded.oldest_pending_seconds
WHERE excluded.oldest_pending_seconds > b.oldest_pending_seconds`

// NoteBacklog stores the age of the oldest pending run for the current minute.
func NoteBacklog(ctx context.Context, pool *pgxpool.Pool) error {
	if _, err := pool.Exec(ctx, noteBacklogSQL); err != nil {
		return fmt.Errorf("note the age of the oldest pending run: %w", err)
	}
	return nil
}

// BacklogPoint is the highest age of the oldest pending run in one step.
type BacklogPoint struct {
	At      time.Time // start of the step
	Seconds float64   // 0 if no run was pending
}

// Backlog returns the age of the oldest pending run by step. There is no point for
// a step in which no program ran.
func Backlog(ctx context.Context, db query.DB, r Range) ([]BacklogPoint, error) {
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("read the history of the oldest pending run: %w", err)
	}
	return query.Structs[BacklogPoint](ctx, db, "read the history of the oldest pending run", `
		SELECT date_bin($3, b.minute, $1), max(b.oldest_pending_seconds)
		FROM lumin.backlog_minutes b WHERE b.minute >= $1 AND b.minute < $2
		GROUP BY 1 ORDER BY 1`, r.From, r.To, r.Step)
}
