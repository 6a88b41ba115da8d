package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Server is what a doctor asks the database about itself. Settings are as they
// are in force for this role in this database.
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

// Server asks the database about itself. It needs none of our tables.
func (s *Store) Server(ctx context.Context) (Server, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT pg_catalog.current_setting('server_version'), pg_catalog.current_setting('server_version_num')::integer,
		       current_user::text, pg_catalog.current_database()::text, pg_catalog.current_setting('server_encoding'),
		       pg_catalog.current_setting('fsync'), pg_catalog.current_setting('full_page_writes'),
		       pg_catalog.current_setting('synchronous_commit'), pg_catalog.current_setting('synchronous_standby_names')`)
	if err != nil {
		return Server{}, fmt.Errorf("ask the server about itself: %w", err)
	}
	server, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Server])
	if err != nil {
		return Server{}, fmt.Errorf("ask the server about itself: %w", err)
	}
	return server, nil
}

// ClockOffset is how far the database's clock is ahead of this machine's, within
// half of the shortest of three round trips.
func (s *Store) ClockOffset(ctx context.Context) (offset, within time.Duration, err error) {
	for try := range 3 {
		var there time.Time
		start := time.Now()
		if err := s.pool.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&there); err != nil {
			return 0, 0, fmt.Errorf("read the database's clock: %w", err)
		}
		half := time.Since(start) / 2
		if try == 0 || half < within {
			offset, within = there.Sub(start.Add(half)), half
		}
	}
	return offset, within, nil
}

// Now is the time of the database's clock. Retention uses it for ages: a machine
// whose clock is years ahead would remove everything as too old.
func (s *Store) Now(ctx context.Context) (now time.Time, err error) {
	if err := s.pool.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&now); err != nil {
		return now, fmt.Errorf("read the database's clock: %w", err)
	}
	return now, nil
}

// Complaints are what is wrong with the queue.
type Complaints struct {
	UnregisteredKinds []string // in the queue, and no program has ever registered them
	PausedQueues      []string
	OldRuns           int64   // pending for longer than runs should take, and not retrying
	IdleReplays       []int64 // ordered more than a minute ago and not begun
	OpenErasures      []int64 // ordered more than ten minutes ago and not finished
}

// Complaints looks for what waits in vain; old is how long a run may be pending.
func (s *Store) Complaints(ctx context.Context, old time.Duration) (c Complaints, err error) {
	err = s.pool.QueryRow(ctx, `
		SELECT ARRAY(SELECT DISTINCT job_kind FROM lumin.queue_health WHERE NOT registered ORDER BY 1),
		       ARRAY(SELECT name FROM lumin.river_queue WHERE paused_at IS NOT NULL ORDER BY 1),
		       (SELECT count(*) FROM lumin.runs WHERE state = 'pending' AND pending_since < now() - make_interval(secs => $1)
		            AND NOT (job_id IS NOT NULL AND error IS NOT NULL)),
		       ARRAY(SELECT id FROM lumin.replays WHERE finished_at IS NULL AND state = 'ordered' AND created_at < now() - interval '1 minute' ORDER BY 1),
		       ARRAY(SELECT id FROM lumin.erasures WHERE finished_at IS NULL AND created_at < now() - interval '10 minutes' ORDER BY 1)`,
		old.Seconds()).Scan(&c.UnregisteredKinds, &c.PausedQueues, &c.OldRuns, &c.IdleReplays, &c.OpenErasures)
	if err != nil {
		return c, fmt.Errorf("look at the queue: %w", err)
	}
	return c, nil
}
