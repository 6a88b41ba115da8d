package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/migrations"
)

// Store reads and writes our tables. Its methods are safe for concurrent use.
type Store struct {
	pool *pgxpool.Pool
}

// New returns a Store on pool, which stays the caller's to close. It does not
// connect. The logger is not used: failures are returned as errors.
func New(pool *pgxpool.Pool, _ *slog.Logger) (*Store, error) {
	if pool == nil {
		return nil, errors.New("a Store needs a pool")
	}
	return &Store{pool: pool}, nil
}

// ErrNotFound means that no row has the given id.
var ErrNotFound = errors.New("not found")

// Pool is the pool given to [New].
func (s *Store) Pool() *pgxpool.Pool { return s.pool }

// SchemaStatus tells how far the database is migrated.
func (s *Store) SchemaStatus(ctx context.Context) (migrations.Status, error) {
	return migrations.ReadStatus(ctx, s.pool)
}

// enqueueSQL puts jobs into the queue and wakes the workers, in one round trip.
// Their due time is the database's, because its clock decides when a job is fetched.
const enqueueSQL = `
WITH jobs AS (
    INSERT INTO lumin.river_job (args, kind, max_attempts, priority, queue, scheduled_at)
    SELECT w.args, w.kind, w.max_attempts, w.priority, w.queue, now()
    FROM unnest($1::jsonb[], $2::text[], $3::smallint[], $4::smallint[], $5::text[])
         WITH ORDINALITY AS w (args, kind, max_attempts, priority, queue, position)
    ORDER BY w.position
    RETURNING queue
)
SELECT pg_catalog.pg_notify('lumin.river_insert', json_build_object('queue', queue)::text)
FROM (SELECT DISTINCT queue FROM jobs) woken`

// enqueue puts jobs into the queue in tx.
func (s *Store) enqueue(ctx context.Context, tx pgx.Tx, jobs []queuedJob) error {
	if len(jobs) == 0 {
		return nil
	}
	var (
		n          = len(jobs)
		args       = make([]JobArgs, n)
		kinds      = make([]string, n)
		attempts   = make([]int16, n)
		priorities = make([]int16, n)
		queues     = make([]string, n)
	)
	for i, j := range jobs {
		args[i], kinds[i], queues[i] = j.args, j.args.Kind(), j.spec.Queue
		attempts[i], priorities[i] = int16(j.spec.MaxAttempts), int16(j.spec.Priority)
	}
	if _, err := tx.Exec(ctx, enqueueSQL, args, kinds, attempts, priorities, queues); err != nil {
		return fmt.Errorf("enqueue %d jobs: %w", n, err)
	}
	return nil
}

type queuedJob struct {
	args JobArgs
	spec JobSpec
}
