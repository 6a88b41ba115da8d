package store

import (
	"cmp"
	"context"
	"errors"
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

// ErrJobTypeChanged is that of a kind which was transactional and is plain now, or
// the reverse, while jobs of it are under way or a program works it in the other way.
var ErrJobTypeChanged = errors.New("job type has changed between Work and WorkTx")

// changedSQL counts, of kinds that work in another way than they did, the jobs under
// way and the programs that work them. Such a job may have had its effect already, in
// the way that it had then.
const changedSQL = `
SELECT * FROM (
    SELECT t.kind, t.transactional,
           (SELECT count(*) FROM lumin.river_job j
            WHERE j.kind = t.kind AND j.state IN ('available', 'pending', 'retryable', 'running', 'scheduled')) AS jobs,
           (SELECT count(*) FROM lumin.programs p
            WHERE t.kind = ANY (p.job_kinds) AND p.role <> 'ingest' AND p.last_seen >= now() - make_interval(secs => $3)) AS programs
    FROM unnest($1::text[], $2::boolean[]) AS mine (kind, transactional)
    JOIN lumin.job_types t ON t.kind = mine.kind AND t.transactional <> mine.transactional
) c
WHERE jobs > 0 OR programs > 0 ORDER BY kind LIMIT 1`

// RegisterJobTypes writes down what a program knows, and returns the kinds that
// others have registered and this one does not know. ErrJobTypeChanged refuses all
// of it.
func (s *Store) RegisterJobTypes(ctx context.Context, types []JobType) (unknown []string, err error) {
	// Sorted, so that programs which start together do not wait for each other.
	types = slices.SortedFunc(slices.Values(types), func(a, b JobType) int { return cmp.Compare(a.Kind, b.Kind) })
	kinds, transactional := make([]string, len(types)), make([]bool, len(types))
	batch := &pgx.Batch{}
	for i, t := range types {
		kinds[i], transactional[i] = t.Kind, t.Transactional
		batch.Queue(registerJobTypesSQL, t.Kind, nonNil(t.Events), nonNil(t.Sources), t.Transactional, t.Queue)
	}
	err = pgx.BeginTxFunc(ctx, s.pool, readCommitted, func(tx pgx.Tx) error {
		if err := refuseChanged(ctx, tx, kinds, transactional); err != nil {
			return err
		}
		return tx.SendBatch(ctx, batch).Close()
	})
	if err != nil {
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

func refuseChanged(ctx context.Context, tx pgx.Tx, kinds []string, transactional []bool) error {
	var (
		kind           string
		was            bool
		jobs, programs int64
	)
	err := tx.QueryRow(ctx, changedSQL, kinds, transactional, ProgramSeenWithin.Seconds()).Scan(&kind, &was, &jobs, &programs)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case err != nil:
		return err
	}
	before, now := "Work", "WorkTx"
	if was {
		before, now = now, before
	}
	return fmt.Errorf("%w: %q worked by %s, works by %s now, with %d jobs under way and %d programs at work", ErrJobTypeChanged, kind, before, now, jobs, programs)
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
