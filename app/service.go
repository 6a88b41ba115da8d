package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os/signal"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"lumin-ingest/admin"
	"lumin-ingest/ingest"
	"lumin-ingest/internal/errtext"
	"lumin-ingest/internal/pgopen"
	"lumin-ingest/store"
	"lumin-ingest/store/catalog"
	"lumin-ingest/worker"
)

const (
	// recordConns is for the three flushers of the Recorder, the probe of /readyz,
	// and silent connections: they count until they are closed, which takes 15 s.
	// Recording has a pool of its own, so that jobs cannot starve it.
	recordConns = 8

	// stopTimeout bounds how long deliveries in flight are waited for when the
	// program stops. Recording one takes 10 s at most; a caller that needs longer
	// to send its body is cut off and repeats it.
	stopTimeout = 20 * time.Second

	// jobsTimeout is for the jobs after that: they are cancelled after ten seconds,
	// and one that does not heed that is not waited for much longer.
	jobsTimeout = 13 * time.Second

	// closeTimeout bounds the wait for connections that such a job still holds.
	closeTimeout = 2 * time.Second

	// schemaPoll is how often a start looks whether the database is ready, and
	// lookTimeout how long it waits for an answer: a connection may have gone dead
	// without a word.
	schemaPoll  = time.Second
	lookTimeout = 5 * time.Second
)

// service is the running program.
type service struct {
	cfg           serviceConfig
	pools         []*pgxpool.Pool
	store         *store.Store // of the worker, or else of the recorder
	recorder      *store.Recorder
	readiness     *store.Readiness // of the recorder, or else of the worker
	workReadiness *store.Readiness // of the worker
	handler       *ingest.Handler
	runtime       *worker.Runtime
	public        *listener
	admin         *listener
	registry      *prometheus.Registry
	stopping      atomic.Bool
	began         bool // has been ready once

	heartbeat *heartbeat // nil until the database is ready

	waitingFor atomic.Value // string: what the workers cannot be started for; empty once they were
	failed     chan error
}

// start opens the listeners and begins to work as soon as the database is ready.
// It does not wait for that: until then deliveries are answered 503, and /readyz
// says what is missing.
func start(ctx context.Context, cfg serviceConfig) (_ *service, err error) {
	s := &service{cfg: cfg, pools: []*pgxpool.Pool{cfg.jobsDB}, registry: prometheus.NewRegistry(), failed: make(chan error, 2)}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registerLog(s.registry, cfg.log)
	if cfg.ingest {
		if err := s.prepareIngest(ctx); err != nil {
			return nil, err
		}
	}
	if cfg.work {
		if err := s.prepareWork(ctx); err != nil {
			return nil, err
		}
	}
	s.registry.MustRegister(admin.NewRunCollector(s.store.OldestPending),
		admin.NewRunCountCollector(ctx, s.store.UnsettledRuns), admin.NewBuildCollector())
	if err := s.listen(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *service) openStore(ctx context.Context, options pgopen.Options) (*store.Store, error) {
	pool, err := pgopen.Pool(ctx, s.cfg.databaseURL, options)
	if err != nil {
		return nil, err
	}
	s.pools = append(s.pools, pool)
	return store.New(pool, s.cfg.logger)
}

func (s *service) prepareIngest(ctx context.Context) (err error) {
	if s.store, err = s.openStore(ctx, pgopen.Options{MaxConns: recordConns, Writes: true, NoticeSilence: true}); err != nil {
		return err
	}
	s.recorder = store.NewRecorder(s.store, s.cfg.logger, s.registry)
	s.readiness = store.NewReadiness(s.recorder)
	s.handler, err = ingest.New(ingest.Config{
		Sources: s.cfg.sources, Record: s.recorder.Record, Route: s.cfg.registry.Route,
		MaxEventAge: s.cfg.maxEventAge, Logger: s.cfg.logger, Registerer: s.registry,
		MaxBodyMemory: s.cfg.callers.bodyMemory, TrustedProxies: s.cfg.callers.trustedProxies,
	})
	return err
}

func (s *service) prepareWork(ctx context.Context) (err error) {
	cfg := worker.Config{
		Registry: s.cfg.registry, Logger: s.cfg.logger, MaxWorkers: s.cfg.maxWorkers, Queues: s.cfg.queues,
		Retention: s.cfg.retention, Registerer: s.registry,
	}
	options := pgopen.Options{MaxConns: cfg.Connections(), Writes: true, IdleInTransaction: s.cfg.registry.LongestAttempt()}
	if s.store, err = s.openStore(ctx, options); err != nil {
		return err
	}
	cfg.Store = s.store
	s.workReadiness = store.NewWorkReadiness(s.store)
	if s.readiness == nil {
		s.readiness = s.workReadiness
	}
	if s.runtime, err = worker.New(cfg); errors.Is(err, worker.ErrQueue) {
		return usage(err.Error(), "they are given by --queue or QUEUES, as in slow=5,bulk=2")
	}
	return err
}

// listen takes both addresses before it serves on either.
func (s *service) listen(ctx context.Context) (err error) {
	handler := admin.New(admin.Config{
		Ready: s.checks(), Sources: s.sourceLines, Warnings: s.stuckQueues, Gatherer: s.registry, Logger: s.cfg.logger,
	})
	if s.admin, err = open(ctx, s.cfg.adminAddr, s.cfg.adminMoves, admin.NewServer(handler), "ADMIN_LISTEN_ADDR"); err != nil {
		return err
	}
	if s.handler != nil {
		s.public, err = open(ctx, s.cfg.publicAddr, s.cfg.publicMoves, ingest.NewServer(s.closeWhileStopping(s.handler)), "LISTEN_ADDR or PORT")
		if err != nil {
			return err
		}
		s.public.socket = s.handler.Guard(s.public.socket)
	}
	s.admin.serve(s.failed)
	s.cfg.logger.Info("health and metrics", "address", s.admin.addr())
	if s.public != nil {
		s.public.serve(s.failed)
		s.cfg.logger.Info("receiving deliveries", "address", s.public.addr(), "sources", slices.Sorted(maps.Keys(s.cfg.sources)))
	}
	return nil
}

// checks are what /readyz looks at.
func (s *service) checks() []admin.Check {
	checks := []admin.Check{
		{Name: "program", Probe: func(context.Context) error {
			if s.stopping.Load() {
				return errors.New("stopping")
			}
			return nil
		}},
		{Name: "database", Probe: s.readiness.Ready},
	}
	if s.runtime != nil {
		checks = append(checks, admin.Check{Name: "workers", Probe: s.workersReady})
	}
	return checks
}

func (s *service) sourceLines() []admin.SourceLine {
	if s.handler == nil {
		return nil
	}
	var lines []admin.SourceLine
	for _, status := range s.handler.Sources() {
		lines = append(lines, admin.SourceLine(status))
	}
	return lines
}

// untilDone works until ctx ends or a listener fails, and then stops gracefully. It
// waits for the drain delay first, unless a listener has failed.
func (s *service) untilDone(ctx context.Context) error {
	defer s.close()
	ctx, cancel := context.WithCancel(ctx)
	var rotating sync.WaitGroup
	rotating.Go(func() { s.rotate(ctx) })
	defer rotating.Wait()
	defer cancel()
	if err := s.work(ctx); err != nil {
		return errors.Join(err, s.stop())
	}
	select {
	case <-ctx.Done():
		return errors.Join(s.drain(), s.stop())
	case err := <-s.failed:
		return errors.Join(err, s.stop())
	}
}

// work starts the workers once the database is ready. It returns when they run,
// when ctx ends, or when a listener failed.
func (s *service) work(ctx context.Context) error {
	said := ""
	for {
		err := s.startWork(ctx)
		if err == nil {
			s.waitingFor.Store("") // what stops the workers later is something else
			s.began = true
			s.heartbeat = s.beat()
			s.cfg.logger.Info("started", s.summary()...)
			return nil
		}
		if ctx.Err() != nil {
			return nil
		}
		if refusedOption(err) {
			return optionError(err)
		}
		if errors.Is(err, catalog.ErrJobTypeChanged) {
			return hint(err, "give what works in the new way a new Kind; or let the old program finish its jobs, end it, and start again")
		}
		if reason := errtext.Plain(err.Error()); reason != said {
			said = reason
			s.waitingFor.Store(said)
			s.cfg.logger.Warn("waiting for the database", "reason", said)
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-s.failed:
			return err
		case <-time.After(schemaPoll):
		}
	}
}

// startWork starts the workers, or tells why it is too early for that.
func (s *service) startWork(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	if err := s.store.ReadyToStart(ctx, s.runtime != nil); err != nil {
		return err
	}
	if err := s.recall(ctx); err != nil {
		return err
	}
	if s.runtime != nil {
		return s.runtime.Start(ctx)
	}
	err := s.cfg.registry.Register(ctx, s.store, s.cfg.logger)
	if errors.Is(err, catalog.ErrJobTypeChanged) { // which is for those who work it to mend
		s.cfg.logger.Warn("cannot record the job types in lumin.job_types", "reason", errtext.Plain(err.Error()))
		return nil
	}
	return err
}

// stop ends in the order that keeps every promise: no new deliveries, those in
// flight recorded and answered, then no new jobs.
func (s *service) stop() error {
	s.stopping.Store(true)
	signal.Stop(s.cfg.signals) // a further signal ends the program at once
	s.cfg.logger.Info("stopping")
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	var errs []error
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
		s.heartbeat.stop()
	}
	if s.admin != nil {
		_ = s.admin.server.Close() // nobody is kept waiting by a look at the health
	}
	err := errors.Join(errs...)
	if err == nil {
		s.cfg.logger.Info("stopped")
	}
	return err
}

// close lets go of what stop leaves, or of what a failed start had opened.
func (s *service) close() {
	for _, l := range []*listener{s.public, s.admin} {
		if l != nil {
			_ = l.server.Close()
			_ = l.socket.Close() // which the server does not know before it serves
		}
	}
	if s.recorder != nil {
		s.recorder.Close()
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		for _, pool := range s.pools {
			pool.Close() // waits until nobody uses a connection
		}
		if s.runtime != nil {
			s.runtime.Close()
		}
	}()
	select {
	case <-closed:
	case <-time.After(closeTimeout):
		s.cfg.logger.Warn("jobs that did not end still hold connections")
	}
}

// listener is a server with its address.
type listener struct {
	server *http.Server
	socket net.Listener
}

func open(ctx context.Context, addr string, moves int, server *http.Server, setting string) (*listener, error) {
	socket, err := listenNear(ctx, addr, moves)
	if err != nil {
		return nil, cannotListen(addr, err, setting)
	}
	return &listener{server, socket}, nil
}

func cannotListen(addr string, err error, setting string) error {
	var (
		op        *net.OpError
		malformed *net.AddrError
	)
	if errors.As(err, &op) {
		err = op.Err // the rest of it repeats the address
	}
	switch {
	case errors.As(err, &malformed):
		return usage(fmt.Sprintf("cannot listen on %s: %v", addr, err), "set %s to an address such as 127.0.0.1:8080, or :8080 for all of this machine", setting)
	case errors.Is(err, syscall.EADDRINUSE):
		return hint(fmt.Errorf("cannot listen on %s: %w", addr, err), "end what listens there, or set %s to another address", setting)
	}
	return hint(fmt.Errorf("cannot listen on %s: %w", addr, err), "set %s to an address of this machine that this user may listen on", setting)
}

func (l *listener) addr() string { return l.socket.Addr().String() }

func (l *listener) serve(failed chan<- error) {
	go func() {
		if err := l.server.Serve(l.socket); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("listener %s: %w", l.addr(), err)
		}
	}()
}

func (l *listener) shutdown(ctx context.Context) error {
	if err := l.server.Shutdown(ctx); err != nil {
		return fmt.Errorf("close listener %s: %w", l.addr(), err)
	}
	return nil
}
