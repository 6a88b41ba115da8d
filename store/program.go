package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
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

// Receives reports whether deliveries come to it.
func (p Program) Receives() bool { return p.Role != "worker" }

// Works reports whether it works jobs.
func (p Program) Works() bool { return p.Role != "ingest" }

// ProgramSeenWithin is how long a program is taken to run that has not said so: it
// does four times as often.
const ProgramSeenWithin = time.Minute

// programForgotten is when the row of a program that was killed goes.
const programForgotten = 24 * time.Hour

// One that was forgotten while its machine slept is written down anew.
const seeProgramSQL = `
INSERT INTO lumin.programs (id, host, pid, role, job_kinds, other_kinds, stuck, version)
VALUES ($1, $2, $3, $4, $5, $6, $7, nullif($8, ''))
ON CONFLICT (id) DO UPDATE SET last_seen = now(), stuck = excluded.stuck`

// Nobody waits for a program that is being seen, or forgotten by another.
const forgetProgramsSQL = `
DELETE FROM lumin.programs WHERE id IN (
    SELECT id FROM lumin.programs WHERE last_seen < now() - make_interval(secs => $1) FOR UPDATE SKIP LOCKED)`

// SeeProgram writes down that a program runs, and forgets those that were not
// seen for a day. Times are the database's.
func (s *Store) SeeProgram(ctx context.Context, p Program) error {
	batch := &pgx.Batch{}
	batch.Queue(seeProgramSQL, p.ID, p.Host, p.PID, p.Role, nonNil(p.Kinds), nonNil(p.OtherKinds), nonNil(p.Stuck), p.Version)
	batch.Queue(forgetProgramsSQL, programForgotten.Seconds())
	if err := s.pool.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("see program: %w", err)
	}
	return nil
}

// ForgetProgram takes the row of a program away that stops.
func (s *Store) ForgetProgram(ctx context.Context, id [16]byte) error {
	if _, err := s.pool.Exec(ctx, `DELETE FROM lumin.programs WHERE id = $1`, id); err != nil {
		return fmt.Errorf("forget program: %w", err)
	}
	return nil
}

// KindsAtWork lists the job types that a program which works jobs knows. It leaves
// out programs that have not been seen for [ProgramSeenWithin].
func (s *Store) KindsAtWork(ctx context.Context) ([]string, error) {
	var kinds []string
	err := s.pool.QueryRow(ctx, `
		SELECT ARRAY(SELECT DISTINCT k FROM lumin.programs p, unnest(p.job_kinds) k
		             WHERE p.role <> 'ingest' AND p.last_seen >= now() - make_interval(secs => $1) ORDER BY k)`,
		ProgramSeenWithin.Seconds()).Scan(&kinds)
	if err != nil {
		return nil, fmt.Errorf("look which job types are at work: %w", err)
	}
	return kinds, nil
}

// Programs lists the programs that were seen in the last so many seconds or
// minutes, the oldest first.
func (s *Store) Programs(ctx context.Context, within time.Duration) ([]Program, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT id, host, pid, role, job_kinds, coalesce(version, ''), started_at, last_seen, other_kinds, stuck FROM lumin.programs
		WHERE last_seen >= now() - make_interval(secs => $1) ORDER BY started_at, id`, within.Seconds())
	if err != nil {
		return nil, fmt.Errorf("list programs: %w", err)
	}
	programs, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Program])
	if err != nil {
		return nil, fmt.Errorf("list programs: %w", err)
	}
	return programs, nil
}
