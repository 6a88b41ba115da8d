package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/query"
)

// Server describes the database server. Settings are those in force for this
// role in this database.
type Server struct {
	Version           string
	VersionNumber     int // such as 150004
	Role              string
	Database          string
	Encoding          string
	Fsync             string
	FullPageWrites    string
	SynchronousCommit string
	StandbyNames      string // synchronous_standby_names
}

// ExamineServer reads the description of the server. It needs none of our
// tables.
func ExamineServer(ctx context.Context, pool *pgxpool.Pool) (Server, error) {
	return query.Struct[Server](ctx, pool, "examine the server", `
		SELECT pg_catalog.current_setting('server_version'), pg_catalog.current_setting('server_version_num')::integer,
		       current_user::text, pg_catalog.current_database()::text, pg_catalog.current_setting('server_encoding'),
		       pg_catalog.current_setting('fsync'), pg_catalog.current_setting('full_page_writes'),
		       pg_catalog.current_setting('synchronous_commit'), pg_catalog.current_setting('synchronous_standby_names')`)
}

// Queue lists problems of the queue.
type Queue struct {
	UnregisteredKinds []string // in the queue, but never registered by a program
	PausedQueues      []string
	OldRuns           int64   // pending for longer than runs should take, and not retrying
	IdleReplays       []int64 // ordered more than a minute ago and not started
	OpenErasures      []int64 // ordered more than ten minutes ago and not finished
}

// ExamineQueue finds jobs, runs and orders that wait although they should not.
// old is the longest time that a run may be pending.
func ExamineQueue(ctx context.Context, pool *pgxpool.Pool, old time.Duration) (q Queue, err error) {
	err = pool.QueryRow(ctx, `
		SELECT ARRAY(SELECT DISTINCT job_kind FROM lumin.queue_health WHERE NOT registered ORDER BY 1),
		       ARRAY(SELECT name FROM lumin.river_queue WHERE paused_at IS NOT NULL ORDER BY 1),
		       (SELECT count(*) FROM lumin.runs r WHERE r.state = 'pending' AND r.pending_since < now() - make_interval(secs => $1)
		            AND (r.error IS NULL OR NOT EXISTS (
		                SELECT FROM lumin.river_job j WHERE j.id = r.job_id AND j.attempt > (j.state = 'running')::int))),
		       ARRAY(SELECT id FROM lumin.replays WHERE finished_at IS NULL AND state = 'ordered' AND created_at < now() - interval '1 minute' ORDER BY 1),
		       ARRAY(SELECT id FROM lumin.erasures WHERE finished_at IS NULL AND created_at < now() - interval '10 minutes' ORDER BY 1)`,
		old.Seconds()).Scan(&q.UnregisteredKinds, &q.PausedQueues, &q.OldRuns, &q.IdleReplays, &q.OpenErasures)
	if err != nil {
		return q, fmt.Errorf("examine the queue: %w", err)
	}
	return q, nil
}
