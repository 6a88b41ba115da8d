package store

import (
	"context"
	"errors"
	"log/slog"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/migrations"
)

// Store reads and writes our tables. Its methods are safe for concurrent use.
type Store struct {
	pool *pgxpool.Pool
}

// New returns a Store on pool. The caller closes the pool. New does not
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

// SchemaStatus returns the migration status of the database.
func (s *Store) SchemaStatus(ctx context.Context) (migrations.Status, error) {
	return migrations.ReadStatus(ctx, s.pool)
}
