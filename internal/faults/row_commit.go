//go:build unix

package faults

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgproxy"
)

// commitScenario is T3. The ledger notices a 200 after a COMMIT that failed:
// the event is acknowledged and not stored.
func commitScenario() Scenario {
	return Scenario{
		ID: "T3", Name: "statements broken by a proxy: request dropped, reply dropped, black hole, late",
		Size: "1,000 COMMITs of recordings with each fault, and 250 of effects, each of an open transaction that has written something; " +
			"100 INSERTs of recordings, before which the transaction has written nothing",
		setup: setup{programs: 2, rate: 40, env: []string{"WORKERS=32"}},
		inject: func(ctx context.Context, s *scene) error {
			for _, f := range []struct {
				name  string
				fault pgproxy.Fault
			}{
				{"request dropped", pgproxy.DropRequest}, {"reply dropped", pgproxy.DropReply},
				{"black hole", pgproxy.BlackHole}, {"late", pgproxy.Late},
			} {
				for _, of := range []struct {
					name  string
					at    func(pgproxy.Moment) bool
					wrote bool
					full  int
				}{
					{"COMMIT of recording", commit(records), true, 1000}, {"COMMIT of effect", commit(effects), true, 250},
					{"INSERT of recording", statement(records), false, 100},
				} {
					strike := pgproxy.Strike{At: of.at, Fault: f.fault, When: func(pid uint32) bool { return s.wrote(ctx, pid) == of.wrote }}
					if err := s.breakStatements(ctx, f.name+", "+of.name, strike, s.count(of.full, 5)); err != nil {
						return err
					}
				}
				if err := s.recover(ctx); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// wrote reports whether a session has an open transaction that has written
// something. A recording of events that are all stored has not.
func (r *runner) wrote(ctx context.Context, pid uint32) (wrote bool) {
	err := r.servers.query(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND backend_xid IS NOT NULL)`, int32(pid)).Scan(&wrote)
	})
	return err == nil && wrote
}

// breakStatements breaks so many statements, a few at a time.
func (s *scene) breakStatements(ctx context.Context, name string, strike pgproxy.Strike, total int) error {
	s.note("%d × %s", total, name)
	begin := time.Now()
	for left := total; left > 0; {
		strike.Times = min(left, 1+s.rng.IntN(8))
		strike.Wait = between(s.rng, 50*time.Millisecond, 2*time.Second)
		proxy := s.servers.proxies[s.rng.IntN(len(s.servers.proxies))]
		if err := s.hit(ctx, name, func(ctx context.Context) error { return s.strikeAll(ctx, proxy, strike) }); err != nil {
			return err
		}
		s.more += strike.Times - 1
		if left -= strike.Times; left/100 < (left+strike.Times)/100 {
			s.note("%d are left", left)
		}
	}
	t := s.ledger.traffic(begin, time.Now(), nil)
	s.out.figure(fmt.Sprintf("%s: faults", name), float64(total), "")
	s.out.figure(fmt.Sprintf("%s: answers 200", name), float64(t.answered), "")
	s.out.figure(fmt.Sprintf("%s: answers 503 or none", name), float64(t.failed()), "")
	return nil
}

// strikeAll arms a strike and waits until all of it has hit.
func (s *scene) strikeAll(ctx context.Context, proxy *pgproxy.Proxy, strike pgproxy.Strike) error {
	want := proxy.Struck() + strike.Times
	proxy.At(strike)
	defer proxy.At(pgproxy.Strike{})
	for start := time.Now(); proxy.Struck() < want; pause(ctx, 5*time.Millisecond) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if time.Since(start) > time.Minute {
			return fmt.Errorf("%d of the statements to break were not sent within a minute", want-proxy.Struck())
		}
	}
	return nil
}
