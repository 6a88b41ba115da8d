//go:build unix

package faults

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// failoverScenario is T8 with a synchronous standby.
func failoverScenario() Scenario {
	return Scenario{
		ID: "T8", Name: "synchronous standby: the primary is killed or vanishes, the standby is promoted; and flips to read-only",
		Size:       "20 failovers, 20 flips",
		setup:      setup{programs: 2, standby: true, rate: 40},
		lastEffect: killedBound,
		inject: func(ctx context.Context, s *scene) error {
			flips := []Fault{{choose: readOnly}, {choose: readOnlySessions}}
			for n := range s.count(20, 2) {
				if err := s.hitBy(ctx, "failover", failOver(n%2 == 1)); err != nil {
					return err
				}
				if err := s.recover(ctx); err != nil {
					return err
				}
				if err := s.hitBy(ctx, "read-only", flips[n%2].choose); err != nil {
					return err
				}
				if err := s.recover(ctx); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// asynchronousScenario is the part of T8 that says what may be lost.
func asynchronousScenario() Scenario {
	return Scenario{
		ID: "T8a", Name: "asynchronous standby: what a failover may lose",
		Size:       "10 failovers, half of them with a standby that is 1 s behind",
		setup:      setup{programs: 2, standby: true, loses: true, rate: 40},
		lastEffect: killedBound,
		inject: func(ctx context.Context, s *scene) error {
			lost := map[bool][]float64{}
			for n := range s.count(10, 2) {
				behind := n%2 == 1
				before := s.ledger.Counts().Acknowledged
				pause(ctx, 2*time.Second)
				promote := func(ctx context.Context) error { return s.servers.failOver(ctx, false) }
				if behind {
					promote = s.failOverBehind
				}
				if err := s.hit(ctx, map[bool]string{false: "failover", true: "failover, 1 s behind"}[behind], promote); err != nil {
					return err
				}
				missing, err := s.missing(ctx, before)
				if err != nil {
					return err
				}
				lost[behind] = append(lost[behind], float64(missing))
				s.lost += missing
				if err := s.acked(ctx); err != nil {
					return err
				}
				if err := s.servers.rebuild(ctx); err != nil {
					return err
				}
			}
			s.figures("acknowledged deliveries lost in a failover", lost[false])
			s.figures("acknowledged deliveries lost in a failover, standby 1 s behind", lost[true])
			return nil
		},
	}
}

// failOverBehind cuts the standby off from the primary, waits, and fails over.
func (s *scene) failOverBehind(ctx context.Context) error {
	if err := s.servers.awaitSync(ctx); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, s.servers.standby.URL())
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, sql := range []string{`ALTER SYSTEM SET primary_conninfo = ''`, `SELECT pg_reload_conf()`} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	err = s.await(ctx, "the standby is cut off", time.Minute, func() bool {
		var receives bool
		err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_stat_wal_receiver)`).Scan(&receives)
		return err == nil && !receives
	})
	if err != nil {
		return err
	}
	pause(ctx, time.Second)
	return s.servers.promote(ctx, false)
}

// missing counts the acknowledged deliveries that are not stored. Those before
// the first one were counted after an earlier failover.
func (s *scene) missing(ctx context.Context, from int) (int, error) {
	keys, sources := s.ledger.acknowledgedSince(from)
	var count int
	err := s.servers.insist(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `
			SELECT count(*) FROM unnest($1::uuid[], $2::text[]) AS l (event_key, source)
			WHERE NOT EXISTS (SELECT FROM lumin.events e WHERE e.event_key = l.event_key AND e.source = l.source)`, keys, sources).Scan(&count)
	})
	return count, err
}

// figures adds the median and the largest of some values.
func (s *scene) figures(name string, values []float64) {
	if len(values) == 0 {
		return
	}
	m, worst := spreadOf(values)
	s.out.figure(name+", median", m, "")
	s.out.figure(name+", worst", worst, "")
}
