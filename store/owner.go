package store

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
)

// OwnerMark ends the name of an owner that held its lock when it fetched a job.
// The owner of a running job is the program that fetched it: the last element of
// attempted_by. Names without the mark are those of programs that held no lock
// then, such as programs of older versions. Other programs leave their jobs to
// River's rescue.
const OwnerMark = "/locked"

// SameOwner reports whether two names are of the same program, with the mark or
// without it.
func SameOwner(a, b string) bool {
	return strings.TrimSuffix(a, OwnerMark) == strings.TrimSuffix(b, OwnerMark)
}

const (
	jobOwner = `j.attempted_by[cardinality(j.attempted_by)]`

	// The key of an owner's lock is computed by the server only. PostgreSQL keeps
	// advisory locks apart by database.
	lockOwnerSQL = `SELECT pg_try_advisory_lock(hashtextextended($1, 0))`
)

// LockOwner takes the lock of an owner for the session of conn. It returns false
// if another session has it.
func LockOwner(ctx context.Context, conn *pgx.Conn, owner string) (locked bool, err error) {
	if err := conn.QueryRow(ctx, lockOwnerSQL, owner).Scan(&locked); err != nil {
		return false, fmt.Errorf("lock the owner of jobs: %w", err)
	}
	return locked, nil
}

// endOwnerSQL ends the session that has the lock of an owner. Others take the lock
// only in shared mode, for the length of a statement.
const endOwnerSQL = `
SELECT count(pg_terminate_backend(l.pid)) FROM pg_locks l
WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted AND l.mode = 'ExclusiveLock'
  AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
  AND (l.classid::bigint << 32) | l.objid::bigint = hashtextextended($1, 0)`

// EndOwner ends the session that has the lock of an owner: the owner's own one from
// before, whose connection is lost while the server does not know it.
func EndOwner(ctx context.Context, conn *pgx.Conn, owner string) error {
	if _, err := conn.Exec(ctx, endOwnerSQL, owner); err != nil {
		return fmt.Errorf("end the session that has the lock of an owner: %w", err)
	}
	return nil
}

// lostOwnersSQL tries the lock of each owner of running jobs. The lock of the
// session's own name is always free to the session, so $1 is in the result if it
// has a running job that is not in $3. So is $2, its name without a lock. OFFSET 0
// keeps the locks to one per owner.
const lostOwnersSQL = `
SELECT o.owner, now() FROM (
    SELECT ` + jobOwner + ` AS owner FROM lumin.river_job j
    WHERE j.state = 'running' AND NOT (` + jobOwner + ` IN ($1, $2) AND j.id = ANY ($3::bigint[]))
    GROUP BY 1 OFFSET 0) o
WHERE (o.owner LIKE '%` + OwnerMark + `' OR o.owner = $2) AND pg_try_advisory_xact_lock_shared(hashtextextended(o.owner, 0))`

// LostOwners returns the owners of running jobs whose lock is free, with the time
// of the database. The session of conn must have the lock of self. held are the
// jobs that self works: self is among the owners if it has other jobs, such as
// those of a fetch whose answer was lost. If it fetched them without the lock, the
// owner is self without its mark.
func LostOwners(ctx context.Context, conn *pgx.Conn, self string, held []int64) (map[string]time.Time, error) {
	var (
		owner string
		at    time.Time
		lost  = map[string]time.Time{}
	)
	// Planned for the current state of the table.
	err := query.Each(ctx, conn, "find jobs without an owner", []any{&owner, &at}, func() error {
		lost[owner] = at
		return nil
	}, lostOwnersSQL, pgx.QueryExecModeCacheDescribe, self, strings.TrimSuffix(self, OwnerMark), query.NotNull(held))
	return lost, err
}

// maxGivenBack is how often a job is given back. A job that kills each program
// that works it is left to River's rescue after that. A rescue counts as a failed
// attempt, and is followed by the backoff of the job type.
const maxGivenBack = 3

// givenBackKey is the key in the metadata of a job that counts how often it was
// given back.
const givenBackKey = "lumin:given_back"

const timesGivenBack = `CASE WHEN jsonb_typeof(j.metadata -> '` + givenBackKey + `') = 'number' THEN (j.metadata -> '` + givenBackKey + `')::integer ELSE 0 END`

// giveBackSQL makes running jobs available again. As after a stop, the attempt
// does not count. River's rescue finishes a job that somebody has cancelled.
const giveBackSQL = `
WITH lost AS MATERIALIZED (
    SELECT j.id FROM lumin.river_job j
    CROSS JOIN (SELECT pg_try_advisory_xact_lock_shared(hashtextextended($1, 0)) AS free OFFSET 0) l
    WHERE l.free AND j.state = 'running' AND ` + jobOwner + ` = $1 AND j.attempted_at <= $2 AND NOT j.id = ANY ($3::bigint[])
      AND NOT j.metadata ? 'cancel_attempted_at' AND ` + timesGivenBack + ` < $4
    FOR UPDATE OF j SKIP LOCKED
)
UPDATE lumin.river_job j
SET state = 'available', attempt = greatest(j.attempt - 1, 0),
    metadata = j.metadata || jsonb_build_object('` + givenBackKey + `', ` + timesGivenBack + ` + 1)
FROM lost WHERE j.id = lost.id
RETURNING j.kind, j.queue`

// GiveBack makes the running jobs of an owner available again that it fetched
// before a time and that are not in held. It does nothing if another session has
// the owner's lock. It counts the jobs by kind. A job that the owner works
// nevertheless takes effect once, because its run can be settled once.
func GiveBack(ctx context.Context, conn *pgx.Conn, owner string, before time.Time, held []int64) (map[string]int, error) {
	kinds := map[string]int{}
	err := pgx.BeginTxFunc(ctx, conn, query.ReadCommitted, func(tx pgx.Tx) error {
		var (
			kind, queue string
			queues      = map[string]bool{}
		)
		err := query.Each(ctx, tx, "give back jobs", []any{&kind, &queue}, func() error {
			kinds[kind]++
			queues[queue] = true
			return nil
		}, giveBackSQL, pgx.QueryExecModeCacheDescribe, owner, before, query.NotNull(held), maxGivenBack)
		if err != nil || len(queues) == 0 {
			return err
		}
		return WakeTx(ctx, tx, slices.Sorted(maps.Keys(queues)))
	})
	return kinds, err
}
