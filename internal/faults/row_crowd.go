//go:build unix

package faults

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/jackc/pgx/v5"
)

// intruder is an ordinary role of another application on the same server.
const intruder = "faults_intruder"

// exhaustScenario is T6.
func exhaustScenario() Scenario {
	return Scenario{
		ID: "T6", Name: "others take every connection of the server, also those of the programs",
		Size: "5 times for 30 s; 503 within 10 s; goroutines and descriptors back to where they were",
		setup: setup{
			programs: 2, rate: 40,
			settings: map[string]string{"max_connections": "70", "superuser_reserved_connections": "10"},
		},
		lastEffect: killedBound,
		inject: func(ctx context.Context, s *scene) error {
			if err := s.admitIntruder(ctx); err != nil {
				return err
			}
			if err := s.warmUp(ctx); err != nil {
				return err
			}
			before := s.calm(ctx)
			var worst time.Duration
			var refused, silent int
			for range s.count(5, 1) {
				begin := time.Now()
				err := s.hit(ctx, "all connections taken", func(ctx context.Context) error {
					return s.crowd(ctx, s.span(30*time.Second, 15*time.Second), true)
				})
				if err != nil {
					return err
				}
				ended := s.rows[len(s.rows)-1].ended
				if err := s.recover(ctx); err != nil {
					return err
				}
				t := s.ledger.traffic(begin, ended, nil)
				worst, refused, silent = max(worst, t.worst), refused+t.refused, silent+t.silent
			}
			s.atMost("slowest answer without connections", seconds(worst), 10, "s")
			s.atMost("attempts without an answer", float64(silent), 0, "")
			s.atLeast("answers 503", float64(refused), 1)
			s.back(ctx, before)
			return nil
		},
	}
}

// admitIntruder creates the role of the other application.
func (s *scene) admitIntruder(ctx context.Context) error {
	return s.servers.exec(ctx, "CREATE ROLE "+intruder+" LOGIN PASSWORD '"+s.servers.password+"'",
		"GRANT CONNECT ON DATABASE "+database+" TO "+intruder)
}

// crowd takes every connection that the intruder can get, for some time. With
// force it also terminates those of the programs.
func (s *scene) crowd(ctx context.Context, length time.Duration, force bool) error {
	address, err := url.Parse(s.servers.current().DatabaseURL(database))
	if err != nil {
		return err
	}
	address.User = url.UserPassword(intruder, s.servers.password)
	var taken []*pgx.Conn
	defer func() {
		for _, conn := range taken {
			_ = conn.Close(context.WithoutCancel(ctx)) // the server ends the session anyway
		}
	}()
	for start := time.Now(); time.Since(start) < length && ctx.Err() == nil; pause(ctx, 50*time.Millisecond) {
		for {
			conn, err := pgx.Connect(ctx, address.String())
			if err != nil {
				break
			}
			taken = append(taken, conn)
		}
		if force {
			if err := s.servers.exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '"+login+"'"); err != nil {
				return err
			}
		}
	}
	s.note("others had %d connections", len(taken))
	return ctx.Err()
}

// openScenario is T14.
func openScenario() Scenario {
	return Scenario{
		ID: "T14", Name: "another session leaves a transaction with a snapshot open, so that VACUUM removes nothing",
		Size:  "4 min each under 50 and 500 jobs/s; p99 of deliveries < 1 s",
		setup: setup{programs: 2, rate: 10, noReplays: true, env: []string{SteadyVariable + "=1", "WORKERS=32"}},
		inject: func(ctx context.Context, s *scene) error {
			for _, rate := range []int{10, 100} { // five jobs each
				name := fmt.Sprintf("at %d jobs/s", 5*rate)
				s.clients.rate.Store(int64(rate))
				pause(ctx, 10*time.Second)
				s.out.figure("p99 of deliveries "+name+" before", s.p99(10*time.Second), "ms")
				err := s.hit(ctx, "open transaction "+name, func(ctx context.Context) error {
					return s.leaveOpen(ctx, s.span(4*time.Minute, 15*time.Second))
				})
				if err != nil {
					return err
				}
				if err := s.recover(ctx); err != nil {
					return err
				}
				row := s.rows[len(s.rows)-1]
				t := s.ledger.traffic(row.ended.Add(-row.Lasted), row.ended, nil)
				s.atMost("p99 of deliveries "+name+" during", milliseconds(t.p99), 1000, "ms")
				s.atMost("deliveries "+name+" not answered 200", float64(t.failed()), 0, "")
				s.enough("deliveries "+name+" answered 200", t.answered, row.Lasted)
				pause(ctx, 10*time.Second)
				s.atMost("p99 of deliveries "+name+" afterwards", s.p99(10*time.Second), 1000, "ms")
			}
			return nil
		},
	}
}

// enough requires half of the answers 200 that the rate of the clients allows in
// a time. Without answers, neither a time nor a refusal could be too much.
func (s *scene) enough(name string, answered int, in time.Duration) {
	s.atLeast(name, float64(answered), max(1, in.Seconds()*float64(s.clients.rate.Load())/2))
}

// leaveOpen holds a transaction with a snapshot and a transaction id open.
func (s *scene) leaveOpen(ctx context.Context, length time.Duration) error {
	conn, err := pgx.Connect(ctx, s.servers.current().DatabaseURL(database))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, `BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT txid_current(), count(*) FROM lumin.events`); err != nil {
		return err
	}
	pause(ctx, length)
	_, err = conn.Exec(ctx, `COMMIT`)
	return err
}

// p99 returns the 99th percentile of the answers 200 to the deliveries of the
// last seconds, in milliseconds.
func (s *scene) p99(last time.Duration) float64 {
	now := time.Now()
	return milliseconds(s.ledger.traffic(now.Add(-last), now, nil).p99)
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
