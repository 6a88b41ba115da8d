package service

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"
)

// These constants limit the waits of a stop. A test compares their sum with the
// time that the documents and the compose files allow.
const (
	// stopTimeout bounds the wait for deliveries in flight. Recording one takes
	// 10 s at most. A caller that sends its body more slowly is cut off, and
	// delivers again.
	stopTimeout = 20 * time.Second

	// jobsTimeout bounds the wait for jobs: their contexts are cancelled after
	// 10 s, and a job that ignores this gets 3 s more.
	jobsTimeout = 13 * time.Second

	// closeTimeout limits the wait for the connections that such a job holds.
	closeTimeout = 2 * time.Second
)

// signals are the signals that the service handles itself. A nil channel never
// delivers one.
type signals struct {
	// stop gets the stop signals while they may end the drain delay. The first
	// one has also ended the context of Run.
	stop chan os.Signal

	// hangup gets SIGHUP: read the secrets again.
	hangup chan os.Signal
}

func handleSignals(cfg Config) (s signals) {
	if !cfg.HandleSignals {
		return s
	}
	s.hangup = make(chan os.Signal, 1)
	signal.Notify(s.hangup, syscall.SIGHUP)
	if cfg.Ingest && cfg.DrainDelay > 0 {
		s.stop = make(chan os.Signal, 2)
		signal.Notify(s.stop, os.Interrupt, syscall.SIGTERM)
	}
	return s
}

// releaseStop makes the next stop signal end the program at once.
func (s signals) releaseStop() {
	if s.stop != nil {
		signal.Stop(s.stop)
	}
}

func (s signals) releaseHangup() {
	if s.hangup != nil {
		signal.Stop(s.hangup)
	}
}

// drain keeps receiving for the drain delay after /readyz has changed to 503,
// so that load balancers notice before a caller is refused. This matters
// because Lumin repeats a refused delivery only after five minutes. A further
// signal ends the delay.
//
// A service that only works, or that never started, has no delay. If a listener
// fails, the delay ends with its error.
func (s *Service) drain() error {
	s.stopping.Store(true)
	if s.public == nil || s.heartbeat == nil || s.cfg.DrainDelay == 0 {
		return nil
	}
	s.cfg.Logger.Info("no longer ready; still receiving during the drain delay", "drain_delay", s.cfg.DrainDelay.String())
	delay := time.NewTimer(s.cfg.DrainDelay)
	defer delay.Stop()
	for received := 0; received < 2; { // the first signal began the stop
		select {
		case <-delay.C:
			return nil
		case <-s.signals.stop:
			received++
		case err := <-s.failed:
			return err
		}
	}
	s.cfg.Logger.Info("drain delay skipped by a second signal")
	return nil
}

// closeWhileStopping closes each connection after its next answer while the
// service stops. Otherwise a caller could send a request on an idle connection
// at the moment when the listener closes it, and lose the request.
func (s *Service) closeWhileStopping(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.stopping.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// stop ends the parts in the order that loses nothing: no new deliveries, then
// the deliveries in flight are recorded and answered, then no new jobs.
func (s *Service) stop() error {
	s.stopping.Store(true)
	s.signals.releaseStop()
	s.cfg.Logger.Info("stopping")
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	var errs []error
	alertsStopped := make(chan struct{})
	if s.alerts != nil {
		go func() { // it takes no time of its own
			defer close(alertsStopped)
			s.alerts.Stop()
		}()
	}
	if s.public != nil {
		errs = append(errs, s.public.shutdown(ctx))
	}
	if s.recorder != nil {
		s.recorder.Shutdown(ctx)
		s.recorder = nil
	}
	if s.runtime != nil {
		errs = append(errs, s.stopJobs())
	}
	if s.heartbeat != nil {
		var ending sync.WaitGroup // they wait for the database at the same time
		ending.Go(s.historian.stop)
		s.heartbeat.stop()
		ending.Wait()
	}
	if s.alerts != nil {
		<-alertsStopped
	}
	_ = s.admin.server.Close() // a request for health or metrics may be cut off
	err := errors.Join(errs...)
	if err == nil {
		s.cfg.Logger.Info("stopped")
	}
	return err
}

// stopJobs waits for the running jobs. The stop succeeds even if some jobs do
// not end: their runs stay pending, and another program takes up the jobs, or
// this one after its next start.
func (s *Service) stopJobs() error {
	ctx, cancel := context.WithTimeout(context.Background(), jobsTimeout)
	defer cancel()
	err := s.runtime.Stop(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	kinds, jobs := s.runtime.Unfinished(), 0
	for _, n := range kinds {
		jobs += n
	}
	s.cfg.Logger.Warn("some jobs ignore the end of their context and were abandoned: their runs stay pending, and the jobs will be retried",
		"kinds", slices.Sorted(maps.Keys(kinds)), "jobs", jobs)
	return nil
}

// close releases everything that is still open after stop, or after a failed
// New.
func (s *Service) close() {
	s.signals.releaseStop()
	s.signals.releaseHangup()
	for _, l := range []*listener{s.public, s.admin} {
		if l != nil {
			_ = l.server.Close()
			_ = l.socket.Close() // a server knows its socket only after it has begun to serve
		}
	}
	if s.recorder != nil {
		s.recorder.Close()
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		s.shutdownTracer()
		for _, pool := range s.pools {
			pool.Close() // waits until every connection has been returned
		}
		if s.runtime != nil {
			s.runtime.Close()
		}
	}()
	select {
	case <-closed:
	case <-time.After(closeTimeout):
		s.cfg.Logger.Warn("jobs that did not end still hold connections")
	}
}

// traceFlush bounds the wait for the last spans. It is part of closeTimeout.
const traceFlush = time.Second

// shutdownTracer sends the last spans.
func (s *Service) shutdownTracer() {
	ctx, cancel := context.WithTimeout(context.Background(), traceFlush)
	defer cancel()
	if err := s.cfg.Tracer.Shutdown(ctx); err != nil {
		s.cfg.Logger.Warn("the last spans were not sent in time")
	}
}
