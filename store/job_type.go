package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// JobType is one row of lumin.job_types: a job type that some program on this
// database has registered.
type JobType struct {
	Kind          string
	Events        []string // empty: all
	Sources       []string // empty: all
	Transactional bool
	Queue         string
	Since         time.Time
	LastSeen      time.Time
}

const registerJobTypesSQL = `
INSERT INTO lumin.job_types AS t (kind, events, sources, transactional, queue)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (kind) DO UPDATE SET
    events = excluded.events, sources = excluded.sources,
    transactional = excluded.transactional, queue = excluded.queue, last_seen = now()`

// RegisterJobTypes writes down what a program knows, and returns the kinds that
// others have registered and this one does not know.
func (s *Store) RegisterJobTypes(ctx context.Context, types []JobType) (unknown []string, err error) {
	batch := &pgx.Batch{}
	kinds := make([]string, len(types))
	// Sorted, so that programs which start together do not wait for each other.
	types = slices.SortedFunc(slices.Values(types), func(a, b JobType) int { return cmp.Compare(a.Kind, b.Kind) })
	for i, t := range types {
		kinds[i] = t.Kind
		batch.Queue(registerJobTypesSQL, t.Kind, nonNil(t.Events), nonNil(t.Sources), t.Transactional, t.Queue)
	}
	if err := s.pool.SendBatch(ctx, batch).Close(); err != nil {
		return nil, fmt.Errorf("register job types: %w", err)
	}
	rows, err := s.pool.Query(ctx, `SELECT kind FROM lumin.job_types WHERE kind <> ALL ($1::text[]) ORDER BY kind`, kinds)
	if err != nil {
		return nil, fmt.Errorf("list other job types: %w", err)
	}
	unknown, err = pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list other job types: %w", err)
	}
	return unknown, nil
}

// KnownKinds lists the kinds that any program has ever registered here.
func (s *Store) KnownKinds(ctx context.Context) ([]string, error) {
	rows, err := s.pool.Query(ctx, `SELECT kind FROM lumin.job_types ORDER BY kind`)
	if err != nil {
		return nil, fmt.Errorf("list job types: %w", err)
	}
	kinds, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list job types: %w", err)
	}
	return kinds, nil
}

// nonNil keeps nil out of columns that are NOT NULL.
func nonNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
