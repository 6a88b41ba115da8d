//go:build unix

package faults

import (
	"context"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// workerScenario is T12. Program B is hit. Program C works on and rescues, and
// program A only receives.
func workerScenario() Scenario {
	return Scenario{
		ID: "T12", Name: "a worker is killed in mid-job, or stopped with SIGSTOP beyond the time of rescue and continued",
		Size: "500 jobs at work when their worker was hit; every other hit is a stop, which lasts until another worker has taken all of them",
		setup: setup{
			programs: 3, roles: []string{"ingest", "worker", "worker"}, rate: 40,
			env: []string{SteadyVariable + "=1", SlowVariable + "=2s", "WORKERS=32"},
		},
		lastEffect: killedBound,
		inject: func(ctx context.Context, s *scene) error {
			total, at := s.count(500, 20), map[bool]int{} // by whether it was a stop
			const burst = 3
			for n, done := 0, false; !done; n++ {
				pause(ctx, between(s.rng, 2*time.Second, 4*time.Second))
				stop := n%2 == 1
				hit, err := s.hitWorker(ctx, stop)
				if err != nil {
					return err
				}
				at[stop] += hit
				done = at[false]+at[true] >= total && at[true] > 0
				if n%burst == burst-1 || done {
					if err := s.recover(ctx); err != nil {
						return err
					}
				}
			}
			s.atLeast("jobs at work when their worker was hit", float64(at[false]+at[true]), float64(total))
			s.atLeast("of these when it was killed", float64(at[false]), 1)
			s.atLeast("of these when it was stopped", float64(at[true]), 1)
			s.atLeast("of these, taken by another worker before the stopped one went on", float64(s.taken), float64(at[true]))
			return nil
		},
	}
}

// hitWorker kills or stops program B. It returns how many jobs B was working.
func (s *scene) hitWorker(ctx context.Context, stop bool) (jobs int, err error) {
	p, name := s.programs[1], "kill"
	if stop {
		name = "stop"
	}
	err = s.hit(ctx, name, func(ctx context.Context) error {
		began := time.Now()
		if stop {
			p.signal(syscall.SIGSTOP)
			defer p.signal(syscall.SIGCONT)
		} else if err := p.kill(ctx); err != nil {
			return err
		}
		ids, err := s.abandoned(ctx, began)
		if err != nil {
			return err
		}
		jobs = len(ids)
		if stop {
			length := between(s.rng, 46*time.Second, 52*time.Second)
			if err := s.awaitTaken(ctx, ids, began); err != nil {
				return err
			}
			pause(ctx, length-time.Since(began))
			return nil
		}
		return p.start(p.role)
	})
	s.note("%s: %d jobs were at work", name, jobs)
	return jobs, err
}

// awaitTaken waits until others have fetched the jobs of a worker that was stopped
// at a time. The worker itself fetches nothing meanwhile.
func (s *scene) awaitTaken(ctx context.Context, ids []int64, stopped time.Time) error {
	taken := 0
	err := s.await(ctx, "another worker takes all jobs of the stopped one", killedBound, func() bool {
		err := s.servers.query(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
			taken, err = takenSince(ctx, conn, ids, stopped)
			return err
		})
		return err == nil && taken == len(ids)
	})
	s.note("%d of %d jobs were taken by another worker after %s", taken, len(ids), short(time.Since(stopped)))
	s.taken += taken
	return err
}

// takenSince counts the jobs that were fetched after a time. Jobs of replays come
// after those of new deliveries, which may keep the other worker busy. So it is
// enough that they were given back, or ended with their replay.
func takenSince(ctx context.Context, conn *pgx.Conn, ids []int64, at time.Time) (n int, err error) {
	err = conn.QueryRow(ctx, `
		SELECT count(*) FROM lumin.river_job
		WHERE id = ANY ($1) AND (attempted_at > $2 OR priority > 1 AND state <> 'running')`, ids, at).Scan(&n)
	return n, err
}

// abandoned lists the jobs that a worker had begun when it was hit: those at
// work that are not of the worker that has begun jobs since. Jobs abandoned
// earlier have been rescued, or were begun more than 10 s ago.
func (s *scene) abandoned(ctx context.Context, hit time.Time) (ids []int64, err error) {
	err = s.await(ctx, "the other worker begins jobs", time.Minute, func() bool {
		err := s.servers.query(ctx, func(ctx context.Context, conn *pgx.Conn) error {
			return conn.QueryRow(ctx, `
				SELECT (SELECT array_agg(j.id) FROM lumin.river_job j
				        WHERE j.state = 'running' AND j.attempted_at BETWEEN $1 - interval '10 s' AND $1
				          AND j.attempted_by[array_upper(j.attempted_by, 1)] <> other.id)
				FROM (SELECT attempted_by[array_upper(attempted_by, 1)] AS id FROM lumin.river_job
				      WHERE attempted_at > $1 ORDER BY attempted_at DESC LIMIT 1) other`, hit).Scan(&ids)
		})
		return err == nil // there is no row before another worker has begun jobs
	})
	return ids, err
}

// vanishScenario is T19.
func vanishScenario() Scenario {
	return Scenario{
		ID: "T19", Name: "the machine of a program vanishes with jobs at work; connections go silent while new ones work",
		Size:       "25 of each; first 200 within 3 s, also of the program that was hit, taken over within 60 s",
		setup:      setup{programs: 2, rate: 20, eases: true, env: []string{SlowVariable + "=300ms", "WORKERS=32"}},
		first200:   3 * time.Second,
		lastEffect: time.Minute,
		inject: func(ctx context.Context, s *scene) error {
			for range s.count(25, 2) {
				for _, f := range []Fault{{Name: "vanish", choose: programVanish}, {Name: "silence", choose: networkSilence}} {
					if err := s.hitBy(ctx, f.Name, f.choose); err != nil {
						return err
					}
					if err := s.recover(ctx); err != nil {
						return err
					}
				}
			}
			return nil
		},
	}
}
