package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/query"
)

// JobType is one row of lumin.job_types: a job type that some program on this
// database has registered.
type JobType struct {
	Kind          string
	Events        []string // empty: all
	Sources       []string // empty: all
	Transactional bool
	Queue         string
	MaxAttempts   int
	Priority      int
	WhenFailed    string // hold, skip or cancel; empty: the job type is not ordered
	Since         time.Time
	LastSeen      time.Time

	RefusesRecovered bool // it has no runs for recovered events
}

const registerJobTypesSQL = `
INSERT INTO lumin.job_types AS t (kind, events, sources, transactional, queue, max_attempts, priority, when_failed, recovered)
VALUES ($1, $2, $3, $4, $5, nullif($6::smallint, 0), nullif($7::smallint, 0), nullif($8, ''), $9)
ON CONFLICT (kind) DO UPDATE SET
    events = excluded.events, sources = excluded.sources, transactional = excluded.transactional, queue = excluded.queue,
    max_attempts = excluded.max_attempts, priority = excluded.priority, when_failed = excluded.when_failed,
    recovered = excluded.recovered, last_seen = now()`

// ErrJobTypeChanged means that a job type has changed between transactional and
// plain, while jobs of it are under way or a running program still works it the
// other way.
var ErrJobTypeChanged = errors.New("job type has changed between Work and WorkTx")

// For kinds that changed between transactional and plain, changedSQL counts the
// jobs under way and the programs that work them. Such a job may already have
// had its effect, the way it worked before.
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

// AddJobTypes registers the job types of a program, and returns the kinds that
// only other programs have registered. After ErrJobTypeChanged none is
// registered.
func AddJobTypes(ctx context.Context, pool *pgxpool.Pool, types []JobType) (unknown []string, err error) {
	// Sorted, so that programs that start together lock rows in the same order.
	types = slices.SortedFunc(slices.Values(types), func(a, b JobType) int { return cmp.Compare(a.Kind, b.Kind) })
	kinds, transactional := make([]string, len(types)), make([]bool, len(types))
	batch := &pgx.Batch{}
	for i, t := range types {
		kinds[i], transactional[i] = t.Kind, t.Transactional
		batch.Queue(registerJobTypesSQL, t.Kind, query.NotNull(t.Events), query.NotNull(t.Sources), t.Transactional, t.Queue,
			t.MaxAttempts, t.Priority, t.WhenFailed, !t.RefusesRecovered)
	}
	err = pgx.BeginTxFunc(ctx, pool, query.ReadCommitted, func(tx pgx.Tx) error {
		if err := refuseChanged(ctx, tx, kinds, transactional); err != nil {
			return err
		}
		return tx.SendBatch(ctx, batch).Close()
	})
	if err != nil {
		return nil, fmt.Errorf("register job types: %w", err)
	}
	return query.Column[string](ctx, pool, "list other job types", `SELECT kind FROM lumin.job_types WHERE kind <> ALL ($1::text[]) ORDER BY kind`, kinds)
}

func refuseChanged(ctx context.Context, tx pgx.Tx, kinds []string, transactional []bool) error {
	var (
		kind           string
		was            bool
		jobs, programs int64
	)
	err := tx.QueryRow(ctx, changedSQL, kinds, transactional, SeenWithin.Seconds()).Scan(&kind, &was, &jobs, &programs)
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
	return fmt.Errorf("%w: %q used %s and now uses %s, while %d jobs are under way and %d programs work them", ErrJobTypeChanged, kind, before, now, jobs, programs)
}

// Kinds lists the kinds of job types that any program has ever registered here.
func Kinds(ctx context.Context, pool *pgxpool.Pool) ([]string, error) {
	return query.Column[string](ctx, pool, "list job types", `SELECT kind FROM lumin.job_types ORDER BY kind`)
}

// PlainKinds lists the kinds of the plain job types that programs have registered.
func PlainKinds(ctx context.Context, pool *pgxpool.Pool) ([]string, error) {
	return query.Column[string](ctx, pool, "list plain job types", `SELECT kind FROM lumin.job_types WHERE NOT transactional ORDER BY kind`)
}
