//go:build unix

package faults

import (
	"context"
	"sync"
	"time"
)

// mixedScenario is T17: all faults of this package, in an order that the seed
// decides.
func mixedScenario() Scenario {
	return Scenario{
		ID: "T17", Name: "all of it mixed: kills, pauses, crashes, broken networks and COMMITs, failovers, read-only servers",
		Size:  "30 min",
		setup: setup{standby: true, rate: 40, eases: true},
		inject: func(ctx context.Context, s *scene) error {
			s.cfg.Length = s.span(30*time.Minute, 90*time.Second)
			if err := s.warmUp(ctx); err != nil {
				return err
			}
			signs := newVitalSigns(s.programs)
			sampling, stop := context.WithCancel(ctx)
			defer stop()
			begin := time.Now()
			var sampler sync.WaitGroup
			sampler.Go(func() { signs.every(sampling, 2*time.Second) })
			err := s.injectAll(ctx)
			stop()
			sampler.Wait()
			if err == nil {
				s.flat(signs, begin, time.Now())
			}
			return err
		},
	}
}
