//go:build unix

package faults

import (
	"context"
	"fmt"
	"time"

	"lumin-ingest/internal/pgproxy"
)

// commitScenario is T3. The ledger notices a 200 after a COMMIT that failed:
// the event is acknowledged and not stored.
func commitScenario() Scenario {
	return Scenario{
		ID: "T3", Name: "COMMIT broken by a proxy: request dropped, reply dropped, black hole, late",
		Size:  "1,000 COMMITs of recordings with each fault, and 250 of effects",
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
					name string
					is   func(string) bool
					full int
				}{{"recording", records, 1000}, {"effect", effects, 250}} {
					strike := pgproxy.Strike{At: commit(of.is), Fault: f.fault}
					if err := s.breakCommits(ctx, f.name+", COMMIT of "+of.name, strike, s.count(of.full, 5)); err != nil {
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

// breakCommits breaks so many COMMITs, a few at a time.
func (s *scene) breakCommits(ctx context.Context, name string, strike pgproxy.Strike, total int) error {
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
			return fmt.Errorf("%d COMMITs were not sent within a minute", want-proxy.Struck())
		}
	}
	return nil
}
