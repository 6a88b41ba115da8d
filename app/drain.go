package app

import (
	"net/http"
	"time"
)

// maxDrainDelay is more than any balancer takes to notice, and short enough for
// a stop.
const maxDrainDelay = 5 * time.Minute

// checkDrainDelay refuses delays that cannot be meant. Negative durations are
// refused with every setting.
func checkDrainDelay(delay time.Duration) error {
	if delay > maxDrainDelay {
		return usage("DRAIN_DELAY is "+delay.String(), "give 0s to 5m: how long a load balancer takes to notice that /readyz answers 503")
	}
	return nil
}

// drain keeps receiving for a while after the program has turned unready, so
// that balancers can notice before callers are refused: Lumin repeats a refused
// delivery only after five minutes. It ends early when another signal comes.
//
// A worker has nobody to wait for, and neither has a program that never was
// ready. A listener that fails ends the delay with its error.
func (s *service) drain() error {
	s.stopping.Store(true)
	if s.public == nil || !s.began || s.cfg.drainDelay == 0 {
		return nil
	}
	s.cfg.logger.Info("unready, and receiving until balancers have noticed", "drain_delay", s.cfg.drainDelay.String())
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
	s.cfg.logger.Info("the drain delay is skipped: a second signal came")
	return nil
}

// closeWhileStopping ends each connection with the answer that it gets while the
// program stops. So no connection is idle and expected to last when the listener
// closes, and none is cut with a request on it.
func (s *service) closeWhileStopping(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.stopping.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
