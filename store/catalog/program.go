package catalog

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/query"
)

// Program is one row of lumin.programs: a program that receives or works on this
// database.
type Program struct {
	ID        [16]byte // random; made by the program when it starts
	Host      string
	PID       int
	Role      string // all, ingest or worker
	Kinds     []string
	Version   string // of its build; empty for programs too old to record it
	StartedAt time.Time
	LastSeen  time.Time

	OtherKinds []string // of follow-up jobs and periodic jobs
	Stuck      []string // descriptions of the queues that have no worker left
}

// Receives reports whether it receives deliveries.
func (p Program) Receives() bool { return p.Role != "worker" }

// Works reports whether it works jobs.
func (p Program) Works() bool { return p.Role != "ingest" }

// SeenWithin is how long after its last [See] a program counts as running. Programs
// call See four times as often.
const SeenWithin = time.Minute

// forgottenAfter is when the row of a program that was killed is deleted.
const forgottenAfter = 24 * time.Hour

// A program whose row was deleted while its machine slept gets a new row.
const seeProgramSQL = `
INSERT INTO lumin.programs (id, host, pid, role, job_kinds, other_kinds, stuck, version)
VALUES ($1, $2, $3, $4, $5, $6, $7, nullif($8, ''))
ON CONFLICT (id) DO UPDATE SET last_seen = now(), stuck = excluded.stuck`

// SKIP LOCKED: a program does not wait for another that updates or deletes a row.
const forgetProgramsSQL = `
DELETE FROM lumin.programs WHERE id IN (
    SELECT id FROM lumin.programs WHERE last_seen < now() - make_interval(secs => $1) FOR UPDATE SKIP LOCKED)`

// See records that a program runs, and deletes programs that were not seen for a
// day. Times are the database's.
func See(ctx context.Context, pool *pgxpool.Pool, p Program) error {
	batch := &pgx.Batch{}
	batch.Queue(seeProgramSQL, p.ID, p.Host, p.PID, p.Role, query.NotNull(p.Kinds), query.NotNull(p.OtherKinds), query.NotNull(p.Stuck), p.Version)
	batch.Queue(forgetProgramsSQL, forgottenAfter.Seconds())
	if err := pool.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("see program: %w", err)
	}
	return nil
}

// Forget deletes the row of a program that stops.
func Forget(ctx context.Context, pool *pgxpool.Pool, id [16]byte) error {
	if _, err := pool.Exec(ctx, `DELETE FROM lumin.programs WHERE id = $1`, id); err != nil {
		return fmt.Errorf("forget program: %w", err)
	}
	return nil
}

// KindsAtWork lists the job types that a program which works jobs knows. It leaves
// out programs that have not been seen for [SeenWithin].
func KindsAtWork(ctx context.Context, pool *pgxpool.Pool) ([]string, error) {
	var kinds []string
	err := pool.QueryRow(ctx, `
		SELECT ARRAY(SELECT DISTINCT k FROM lumin.programs p, unnest(p.job_kinds) k
		             WHERE p.role <> 'ingest' AND p.last_seen >= now() - make_interval(secs => $1) ORDER BY k)`,
		SeenWithin.Seconds()).Scan(&kinds)
	if err != nil {
		return nil, fmt.Errorf("look which job types are at work: %w", err)
	}
	return kinds, nil
}

// Programs lists the programs that were seen within the given time, the oldest
// first.
func Programs(ctx context.Context, pool *pgxpool.Pool, within time.Duration) ([]Program, error) {
	return query.Structs[Program](ctx, pool, "list programs", `
		SELECT id, host, pid, role, job_kinds, coalesce(version, ''), started_at, last_seen, other_kinds, stuck FROM lumin.programs
		WHERE last_seen >= now() - make_interval(secs => $1) ORDER BY started_at, id`, within.Seconds())
}
