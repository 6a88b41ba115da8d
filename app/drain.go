package app

import (
	"net/http"
	"time"
)

// maxDrainDelay is longer than any load balancer takes to notice that the program
// is not ready.
const maxDrainDelay = 5 * time.Minute

// checkDrainDelay refuses delays that are too long. parseDuration refuses negative
// ones.
func checkDrainDelay(delay time.Duration) error {
	if delay > maxDrainDelay {
		return usage("DRAIN_DELAY is "+delay.String(), "give 0s to 5m: the time that a load balancer takes to notice that /readyz answers 503")
	}
	return nil
}

// drain keeps receiving for the drain delay after /readyz has turned to 503, so
// that load balancers notice before any caller is refused: Lumin repeats a refused
// delivery only after five minutes. A further signal ends the delay.
//
// There is no delay for a program that only works, or that was never ready. If a
// listener fails, the delay ends with its error.
func (s *service) drain() error {
	s.stopping.Store(true)
	if s.public == nil || !s.began || s.cfg.drainDelay == 0 {
		return nil
	}
	s.cfg.logger.Info("not ready any more; still receiving during the drain delay", "drain_delay", s.cfg.drainDelay.String())
	over := time.NewTimer(s.cfg.drainDelay)
	defer over.Stop()
	for signals := 0; signals < 2; { // the first is the one that began the stop
		select {
		case <-over.C:
			return nil
		case <-s.cfg.signals:
			signals++
		case err := <-s.failed:
			return err
		}
	}
	s.cfg.logger.Info("drain delay skipped by a second signal")
	return nil
}

// closeWhileStopping closes each connection after the next answer while the program
// stops. Otherwise a caller could send a request on an idle connection at the
// moment when the listener closes it, and lose the request.
func (s *service) closeWhileStopping(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.stopping.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
