package service

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"lumin-ingest/admin"
	"lumin-ingest/admin/access"
	"lumin-ingest/ingest"
	"lumin-ingest/internal/advice"
	"lumin-ingest/internal/alerting"
	"lumin-ingest/internal/machine"
	"lumin-ingest/internal/pgopen"
	"lumin-ingest/store"
	"lumin-ingest/store/alerts"
	"lumin-ingest/store/history"
	"lumin-ingest/store/lanes"
	"lumin-ingest/store/replay"
	"lumin-ingest/worker"
)

// Service is the running program; see [New].
type Service struct {
	cfg     Config
	signals signals

	registry *prometheus.Registry
	pools    map[string]*pgxpool.Pool // by name; a Runtime has one more
	store    *store.Store             // of the admin pool

	// These four are nil unless the service receives.
	recording   *store.Store
	recorder    *store.Recorder
	handler     *ingest.Handler
	public      *listener
	certificate *certificate // also nil without TLS

	// These three are nil unless the service works.
	working       *store.Store
	runtime       *worker.Runtime
	workReadiness *store.Readiness

	guard     *access.Guard    // of the dashboard
	readiness *store.Readiness // the recorder's; without a recorder, the worker's
	admin     *listener

	id         [16]byte         // of this program in lumin.programs
	history    *history.Writer  // counts deliveries and attempts
	historian  *historian       // nil until the service has started
	heartbeat  *heartbeat       // nil until the service has started
	waitingFor atomic.Value     // string: why the workers have not started; "" after the start
	alerts     *alerting.Sender // like heartbeat
	stopping   atomic.Bool
	failed     chan error // the error of a listener
}

// New connects the parts and opens the listeners. It does not wait for the
// database. The caller must call Run, which also releases everything.
func New(ctx context.Context, cfg Config) (_ *Service, err error) {
	cfg.SourcesPoll = cmp.Or(cfg.SourcesPoll, sourcesPoll)
	cfg.CPUs = cmp.Or(cfg.CPUs, machine.CPUs())
	cfg.SourcesTimeout = cmp.Or(cfg.SourcesTimeout, sourcesTimeout)
	s := &Service{
		cfg: cfg, signals: handleSignals(cfg),
		registry: prometheus.NewRegistry(), pools: map[string]*pgxpool.Pool{envPool: cfg.JobsDB}, failed: make(chan error, 2),
	}
	_, _ = rand.Read(s.id[:]) // never fails
	s.history = history.NewWriter(s.id)
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.store, err = s.openStore(ctx, "admin", adminPool()); err != nil {
		return nil, err
	}
	if cfg.Ingest {
		if err := s.newReceiver(ctx); err != nil {
			return nil, err
		}
	}
	if cfg.Work {
		if err := s.newWorker(ctx); err != nil {
			return nil, err
		}
	}
	registerLog(s.registry, cfg.LogQueue)
	counting := admin.NewCounting(ctx, countsAtOnce)
	s.registry.MustRegister(newPoolCollector(s.pools),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), admin.NewBuildCollector(),
		admin.NewRunCollector(s.store.OldestPending), admin.NewRunCountCollector(counting, s.store.UnsettledRuns),
		admin.NewQueueCollector(counting, s.store.QueueDepths), admin.NewDatabaseCollector(counting, s.store.DatabaseLoad),
		admin.NewReplayCollector(counting, func(ctx context.Context) (replay.Open, error) { return replay.CountOpen(ctx, s.store.Pool()) }),
		admin.NewLateCollector(counting, func(ctx context.Context) (store.WaitingLate, error) {
			return store.CountWaitingLate(ctx, s.store.Pool())
		}),
		admin.NewLaneCollector(counting, func(ctx context.Context) ([]lanes.Held, error) { return lanes.CountHeld(ctx, s.store.Pool()) }),
		admin.NewContractCollector(counting, func(ctx context.Context) (int64, error) { return alerts.CountUndownloadable(ctx, s.store.Pool()) }),
		admin.NewRecoveredCollector(counting, s.store.RecoveredCounts))
	if err := s.listen(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// newReceiver creates the parts that handle a delivery.
func (s *Service) newReceiver(ctx context.Context) (err error) {
	if s.recording, err = s.openStore(ctx, "record", s.traced(recordPool())); err != nil {
		return err
	}
	s.recorder = store.NewRecorder(s.recording, s.cfg.Logger, s.registry)
	s.recorder.SetTracer(s.cfg.Tracer)
	s.readiness = store.NewReadiness(s.recorder)
	s.handler, err = ingest.New(ingest.Config{
		Sources: s.cfg.Sources, Record: s.recorder.Record, Route: s.cfg.Registry.Route,
		MaxEventAge: s.cfg.MaxEventAge, StoreLate: s.cfg.StoreLate, Logger: s.cfg.Logger, Registerer: s.registry,
		Answered:      s.answered,
		MaxBodyMemory: s.cfg.MaxBodyMemory, TrustedProxies: s.cfg.TrustedProxies, Tracer: s.cfg.Tracer,
	})
	if err == nil && s.cfg.ReadCertificate != nil {
		err = s.newCertificate()
	}
	return err
}

// newWorker creates the parts that run jobs. They run after start.
func (s *Service) newWorker(ctx context.Context) (err error) {
	cfg := s.cfg.worker()
	cfg.Registerer, cfg.Ended = s.registry, s.attempted
	if s.working, err = s.openStore(ctx, "work", s.traced(workPool(cfg))); err != nil {
		return err
	}
	if cfg.RiverPool, err = s.openPool(ctx, "river", riverPool(cfg)); err != nil {
		return err
	}
	if cfg.JobSettings, err = pgopen.Pool(ctx, s.cfg.DatabaseURL, s.traced(jobPool(cfg))); err != nil {
		return err
	}
	cfg.JobSettings.Close() // only its settings are used
	cfg.Store = s.working
	s.workReadiness = store.NewWorkReadiness(s.working)
	s.readiness = cmp.Or(s.readiness, s.workReadiness)
	if s.runtime, err = worker.New(cfg); errors.Is(err, worker.ErrQueue) {
		return advice.Usage(err.Error(), "they are given by --queue or QUEUES, as in slow=5,bulk=2")
	}
	return err
}

// openStore creates a store with its own pool. It does not wait for a connection.
func (s *Service) openStore(ctx context.Context, name string, options pgopen.Options) (*store.Store, error) {
	return s.openStoreAt(ctx, s.cfg.DatabaseURL, name, options)
}

// openStoreAt is openStore with the login of another URL.
func (s *Service) openStoreAt(ctx context.Context, url, name string, options pgopen.Options) (*store.Store, error) {
	pool, err := s.openPoolAt(ctx, url, name, options)
	if err != nil {
		return nil, err
	}
	return store.New(pool, s.cfg.Logger)
}

// traced adds the tracer to the options of a pool whose statements belong to traces.
func (s *Service) traced(options pgopen.Options) pgopen.Options {
	options.Tracer = s.cfg.Tracer.Queries()
	return options
}

// openPool opens a pool that the service closes.
func (s *Service) openPool(ctx context.Context, name string, options pgopen.Options) (*pgxpool.Pool, error) {
	return s.openPoolAt(ctx, s.cfg.DatabaseURL, name, options)
}

func (s *Service) openPoolAt(ctx context.Context, url, name string, options pgopen.Options) (*pgxpool.Pool, error) {
	pool, err := pgopen.Pool(ctx, url, options)
	if err == nil {
		s.pools[name] = pool
	}
	return pool, err
}

// listen opens both listeners before either of them serves.
func (s *Service) listen(ctx context.Context) (err error) {
	dashboard, err := s.dashboard(ctx)
	if err != nil {
		return err
	}
	handler := admin.New(admin.Config{
		Ready: s.checks(), Sources: s.sourceLines, Warnings: s.warnings, Gatherer: s.registry, Logger: s.cfg.Logger, Dashboard: dashboard,
	})
	if s.admin, err = open(ctx, s.cfg.Admin, admin.NewServer(handler), "ADMIN_LISTEN_ADDR"); err != nil {
		return err
	}
	s.admin.socket = admin.Guard(s.admin.socket)
	if s.handler != nil {
		if s.public, err = open(ctx, s.cfg.Public, ingest.NewServer(s.closeWhileStopping(s.handler)), "LISTEN_ADDR or PORT"); err != nil {
			return err
		}
		if s.certificate != nil {
			s.public.socket = s.certificate.listen(s.public.socket)
		}
		s.public.socket = s.handler.Guard(s.public.socket)
	}
	s.admin.serve(s.failed)
	s.cfg.Logger.Info("health and metrics", "address", s.AdminAddr(), "dashboard", s.dashboardState())
	if s.public != nil {
		s.public.serve(s.failed)
		s.cfg.Logger.Info("receiving deliveries", "address", s.PublicAddr(), "tls", s.certificate != nil, "sources", slices.Sorted(maps.Keys(s.cfg.Sources)))
	}
	return nil
}

// PublicAddr returns the address that receives deliveries, as host:port. It is
// "" if the service only works.
func (s *Service) PublicAddr() string {
	if s.public == nil {
		return ""
	}
	return s.public.addr()
}

// AdminAddr returns the address that serves health and metrics, as host:port.
func (s *Service) AdminAddr() string { return s.admin.addr() }

// Store returns a store on the admin pool of the service. It is closed when Run
// returns.
func (s *Service) Store() *store.Store { return s.store }

// Run starts the service, and stops it when ctx ends. A listener that fails
// also ends it, with the listener's error. Run must be called once.
func (s *Service) Run(ctx context.Context) error {
	defer machine.CollectLess()()
	defer s.close()
	ctx, cancel := context.WithCancel(ctx)
	var rotating sync.WaitGroup
	rotating.Go(func() { s.rotate(ctx) })
	defer rotating.Wait()
	defer cancel()
	err := s.start(ctx)
	if err == nil {
		select {
		case <-ctx.Done():
			err = s.drain()
		case err = <-s.failed:
		}
	}
	return errors.Join(err, s.stop())
}
