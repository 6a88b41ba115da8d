package catalog

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/query"
)

// Program is one row of lumin.programs: a program that receives or works on
// this database.
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

	// Connections is how many the program takes at most; 0 for programs too old
	// to record it.
	Connections int

	// SchemaVersion is the newest migration that the program knows; 0 for programs
	// too old to record it.
	SchemaVersion int
}

// Receives reports whether the program receives deliveries.
func (p Program) Receives() bool { return p.Role != "worker" }

// Works reports whether the program works jobs.
func (p Program) Works() bool { return p.Role != "ingest" }

// SeenWithin is how long after its last [Heartbeat] a program counts as
// running. Programs call Heartbeat four times as often.
const SeenWithin = time.Minute

// forgottenAfter is the age at which the row of a killed program is deleted.
const forgottenAfter = 24 * time.Hour

// A program whose row was deleted while its machine was suspended gets a new
// row.
const heartbeatSQL = `
INSERT INTO lumin.programs (id, host, pid, role, job_kinds, other_kinds, stuck, version, connections, schema_version)
VALUES ($1, $2, $3, $4, $5, $6, $7, nullif($8, ''), nullif($9, 0), nullif($10, 0))
ON CONFLICT (id) DO UPDATE SET last_seen = now(), stuck = excluded.stuck`

// SKIP LOCKED: a program does not wait for another that updates or deletes a
// row.
const forgetProgramsSQL = `
DELETE FROM lumin.programs WHERE id IN (
    SELECT id FROM lumin.programs WHERE last_seen < now() - make_interval(secs => $1) FOR UPDATE SKIP LOCKED)`

// Heartbeat records that a program is running, and deletes programs that were
// not seen for a day. Times are the database's.
func Heartbeat(ctx context.Context, pool *pgxpool.Pool, p Program) error {
	batch := &pgx.Batch{}
	batch.Queue(heartbeatSQL, p.ID, p.Host, p.PID, p.Role, query.NotNull(p.Kinds), query.NotNull(p.OtherKinds), query.NotNull(p.Stuck), p.Version,
		p.Connections, p.SchemaVersion)
	batch.Queue(forgetProgramsSQL, forgottenAfter.Seconds())
	if err := pool.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("record a heartbeat: %w", err)
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

// KindsAtWork lists the job types of the programs that work jobs. It excludes
// programs that have not been seen for [SeenWithin].
func KindsAtWork(ctx context.Context, pool *pgxpool.Pool) ([]string, error) {
	var kinds []string
	err := pool.QueryRow(ctx, `
		SELECT ARRAY(SELECT DISTINCT k FROM lumin.programs p, unnest(p.job_kinds) k
		             WHERE p.role <> 'ingest' AND p.last_seen >= now() - make_interval(secs => $1) ORDER BY k)`,
		SeenWithin.Seconds()).Scan(&kinds)
	if err != nil {
		return nil, fmt.Errorf("list the job types of running programs: %w", err)
	}
	return kinds, nil
}

// Works reports whether a program that works jobs has been seen within [SeenWithin].
func Works(ctx context.Context, pool *pgxpool.Pool) (works bool, err error) {
	err = pool.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM lumin.programs WHERE role <> 'ingest' AND last_seen >= now() - make_interval(secs => $1))`,
		SeenWithin.Seconds()).Scan(&works)
	if err != nil {
		return false, fmt.Errorf("look for programs that run jobs: %w", err)
	}
	return works, nil
}

// Programs lists the programs that were seen within the given time, the oldest
// first.
func Programs(ctx context.Context, pool *pgxpool.Pool, within time.Duration) ([]Program, error) {
	return query.Structs[Program](ctx, pool, "list programs", `
		SELECT id, host, pid, role, job_kinds, coalesce(version, ''), started_at, last_seen, other_kinds, stuck, coalesce(connections, 0), coalesce(schema_version, 0)
		FROM lumin.programs
		WHERE last_seen >= now() - make_interval(secs => $1) ORDER BY started_at, id`, within.Seconds())
}
