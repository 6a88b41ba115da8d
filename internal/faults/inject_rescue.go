//go:build unix

package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
)

// rescueSQL gives jobs that have been at work for a while to any worker, as
// River does after its rescue time. It leaves the attempts alone, as River does.
const rescueSQL = `
WITH rescued AS (
    UPDATE lumin.river_job SET state = 'available', scheduled_at = now()
    WHERE state = 'running' AND kind LIKE 'faults%' AND attempt < max_attempts AND attempted_at < now() - $1::interval
    RETURNING queue
)
SELECT count(*), (SELECT count(pg_notify('lumin.river_insert', jsonb_build_object('queue', queue)::text)) FROM (SELECT DISTINCT queue FROM rescued) q)
FROM rescued`

// jobRescue slows the messages of a program down and gives its jobs to the other
// program while they are at work. So two workers have one job. Both programs must
// work: River expects that no process fetches a job that it has.
func jobRescue(r *runner, rng *rand.Rand) shot {
	n, delay := rng.IntN(len(r.programs)), between(rng, 200*time.Millisecond, 500*time.Millisecond)
	return shot{
		what: fmt.Sprintf("messages of program %s take %s, and its jobs at work are given to the other program", r.programs[n].name, delay),
		do: func(ctx context.Context) error {
			if r.rolesChanged { // only one program works
				if err := errors.Join(changeRoles(r, nil).do(ctx), r.awaitReady(ctx)); err != nil {
					return err
				}
			}
			r.servers.proxies[n].SetDelay(delay)
			defer r.servers.proxies[n].SetDelay(0)
			rescued := 0
			for range 8 {
				pause(ctx, delay)
				var count, queues int
				err := r.servers.insist(ctx, func(ctx context.Context, conn *pgx.Conn) error {
					return conn.QueryRow(ctx, rescueSQL, delay).Scan(&count, &queues)
				})
				if err != nil {
					return err
				}
				rescued += count
			}
			r.note("%d jobs were given to another worker", rescued)
			if rescued == 0 {
				return errMissed
			}
			return nil
		},
	}
}
