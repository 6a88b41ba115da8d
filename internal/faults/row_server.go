//go:build unix

package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgdev"
	"lumin-ingest/internal/pgproxy"
)

// crashScenario is T2.
func crashScenario() Scenario {
	return Scenario{
		ID: "T2", Name: "PostgreSQL crashes: SIGKILL of a backend, immediate shutdown, SIGKILL of the postmaster",
		Size:       "20,000 events, 200, 100 and 50 crashes",
		setup:      setup{programs: 2, rate: 40},
		lastEffect: killedBound,
		inject: func(ctx context.Context, s *scene) error {
			var crashes []string
			for _, c := range []struct {
				name string
				full int
			}{{"backend", 200}, {"immediate", 100}, {"postmaster", 50}} {
				for range s.count(c.full, 2) {
					crashes = append(crashes, c.name)
				}
			}
			s.rng.Shuffle(len(crashes), func(i, j int) { crashes[i], crashes[j] = crashes[j], crashes[i] })
			const burst = 25
			for n, name := range crashes {
				err := s.hit(ctx, name, func(ctx context.Context) error { return s.crash(ctx, name) })
				if err == nil {
					err = s.acked(ctx)
				}
				if err == nil && (n%burst == burst-1 || n == len(crashes)-1) {
					err = s.recover(ctx)
				}
				if err != nil {
					return err
				}
				pause(ctx, between(s.rng, 0, 500*time.Millisecond))
			}
			return s.acknowledged(ctx, s.count(20_000, 300))
		},
	}
}

// crash crashes the server and starts it again if it does not do that on its
// own.
func (s *scene) crash(ctx context.Context, name string) error {
	if name == "backend" {
		return s.killBackend(ctx, s.rng.Uint32())
	}
	mode := pgdev.Immediate
	if name == "postmaster" {
		mode = pgdev.Kill
	}
	server := s.servers.current()
	if err := server.Halt(mode); err != nil {
		return err
	}
	return server.Resume(ctx)
}

// terminateScenario is T4.
func terminateScenario() Scenario {
	return Scenario{
		ID: "T4", Name: "pg_terminate_backend on random connections of the programs",
		Size:  "2,000 in 10,000 events",
		setup: setup{programs: 2, rate: 40},
		inject: func(ctx context.Context, s *scene) error {
			total := s.count(2000, 20)
			const burst = 50
			for n := range total {
				if err := s.hit(ctx, "terminate", s.terminateOne); err != nil {
					return err
				}
				if n%burst == burst-1 || n == total-1 {
					if err := s.recover(ctx); err != nil {
						return err
					}
				}
				pause(ctx, between(s.rng, 0, 100*time.Millisecond))
			}
			return s.acknowledged(ctx, s.count(10_000, 150))
		},
	}
}

// terminateOne terminates a random connection of the programs.
func (s *scene) terminateOne(ctx context.Context) error {
	which := s.rng.Float64()
	return s.await(ctx, "a connection is terminated", insistBound, func() bool {
		var done bool
		err := s.servers.query(ctx, func(ctx context.Context, conn *pgx.Conn) error {
			return conn.QueryRow(ctx, `
				WITH of AS (SELECT pid, percent_rank() OVER (ORDER BY pid) AS place FROM pg_stat_activity WHERE usename = $1)
				SELECT coalesce(bool_or(pg_terminate_backend(pid)), false)
				FROM (SELECT pid FROM of WHERE place <= $2 ORDER BY place DESC LIMIT 1) chosen`, login, which).Scan(&done)
		})
		return err == nil && done
	})
}

// workingBound is how soon after a pause the programs must work again.
const workingBound = 15 * time.Second

// pauseScenario is T5.
func pauseScenario() Scenario {
	return Scenario{
		ID: "T5", Name: "SIGSTOP of PostgreSQL or of a program for 5 to 40 s, and a stalled proxy",
		Size:     "6 pauses of each kind; answers within 25 s or none, each program that was hit works again within 15 s",
		setup:    setup{programs: 2, rate: 40},
		first200: workingBound, working: workingBound,
		inject: func(ctx context.Context, s *scene) error {
			var worst, waited time.Duration
			for range s.count(6, 1) {
				for _, f := range []struct {
					name   string
					choose func(*runner, *rand.Rand, time.Duration) shot
				}{{"postgres", pauseServer}, {"program", stopped}, {"stall", stall}} {
					one := f.choose(s.runner, s.rng, between(s.rng, 5*time.Second, 40*time.Second))
					begin := time.Now()
					if err := s.hitWith(ctx, f.name, one); err != nil {
						return err
					}
					ended := s.rows[len(s.rows)-1].ended
					if err := s.recover(ctx); err != nil {
						return err
					}
					t := s.ledger.traffic(begin, ended, nil)
					worst, waited = max(worst, t.worst), max(waited, t.waited)
				}
			}
			s.atMost("slowest answer to a delivery sent during a pause", seconds(worst), answerBound.Seconds(), "s")
			s.out.figure("the same with the time in which the program was stopped", seconds(waited), "s")
			return nil
		},
	}
}

func pauseServer(r *runner, _ *rand.Rand, length time.Duration) shot {
	return shot{
		what: fmt.Sprintf("SIGSTOP to the server for %s", length),
		hits: r.programs,
		do:   func(ctx context.Context) error { return suspend(ctx, r.servers.current(), length) },
	}
}

// stall stalls all connections between the programs and the server.
func stall(r *runner, _ *rand.Rand, length time.Duration) shot {
	return shot{
		what: fmt.Sprintf("all proxies stall for %s", length),
		hits: r.programs,
		do: func(ctx context.Context) error {
			r.servers.each((*pgproxy.Proxy).Stall)
			defer r.servers.each((*pgproxy.Proxy).Resume)
			pause(ctx, length)
			return nil
		},
	}
}
