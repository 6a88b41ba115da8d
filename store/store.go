package store

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"lumin-ingest/migrations"
)

// Store reads and writes our tables. Its methods are safe for concurrent use.
type Store struct {
	pool *pgxpool.Pool
	jobs *river.Client[pgx.Tx] // inserts only
}

// New returns a Store on pool, which stays the caller's to close. It does not
// connect.
func New(pool *pgxpool.Pool, logger *slog.Logger) (*Store, error) {
	jobs, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		Schema: migrations.Schema,
		Logger: logger,
		// Also the least time between two wake-ups of the workers: the default of
		// 100 ms would let a fresh job wait for the next poll.
		FetchCooldown: time.Millisecond,
	})
	if err != nil {
		return nil, fmt.Errorf("create the queue client: %w", err)
	}
	return &Store{pool: pool, jobs: jobs}, nil
}

// Pool is the pool given to [New].
func (s *Store) Pool() *pgxpool.Pool { return s.pool }

// SchemaStatus tells how far the database is migrated.
func (s *Store) SchemaStatus(ctx context.Context) (migrations.Status, error) {
	return migrations.ReadStatus(ctx, s.pool)
}

// enqueue puts jobs into the queue in tx.
func (s *Store) enqueue(ctx context.Context, tx pgx.Tx, jobs []queuedJob) error {
	if len(jobs) == 0 {
		return nil
	}
	params := make([]river.InsertManyParams, len(jobs))
	for i, j := range jobs {
		params[i] = river.InsertManyParams{
			Args: j.args,
			InsertOpts: &river.InsertOpts{
				Queue: j.spec.Queue, MaxAttempts: j.spec.MaxAttempts, Priority: j.spec.Priority,
			},
		}
	}
	if _, err := s.jobs.InsertManyFastTx(ctx, tx, params); err != nil {
		return fmt.Errorf("enqueue %d jobs: %w", len(jobs), err)
	}
	return nil
}

type queuedJob struct {
	args JobArgs
	spec JobSpec
}
