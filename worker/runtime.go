package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"lumin-ingest/internal/cleanpool"
	"lumin-ingest/internal/tracing"
	"lumin-ingest/migrations"
	"lumin-ingest/store"
)

const (
	// River fetches at most MaxWorkers jobs per cooldown and queue.
	fetchCooldown = 2 * time.Millisecond

	// River regards a job as stuck after this time, or after the timeout of its
	// job type if that is longer. It must exceed the default timeout. The jobs of
	// a program that was killed are usually given back earlier: see owner.
	rescueAfter = 15 * time.Second

	// defaultSoftStop is how long a stop waits before it cancels the contexts
	// of running jobs.
	defaultSoftStop = 10 * time.Second
)

// Runtime runs the jobs of a Registry through River.
type Runtime struct {
	store       *store.Store
	registry    *Registry
	logger      *slog.Logger
	keys        riverKeys
	client      *river.Client[pgx.Tx]
	conns       *jobConns
	queues      map[string]int // number of workers by queue
	running     *runningJobs
	tally       *tally
	started     atomic.Bool
	stopping    atomic.Bool
	clock       *databaseClock
	owner       *owner
	tracer      *tracing.Tracer
	stopReading atomic.Pointer[context.CancelFunc] // stops reading the database's clock
}

// New creates a Runtime without connecting. It returns an error if the Registry
// has errors, or if Config.Queues is invalid ([ErrQueue]).
func New(cfg Config) (*Runtime, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg.CPUs = cmp.Or(cfg.CPUs, runtime.GOMAXPROCS(0)) // it may change
	r := &Runtime{
		store: cfg.Store, registry: cfg.Registry, logger: cfg.Logger, keys: findRiverKeys(),
		clock: &databaseClock{}, owner: newOwner(cfg.Store, cfg.Logger),
		tracer: cfg.Tracer,
		conns:  &jobConns{max: cfg.JobConnections(), like: cmp.Or(cfg.JobSettings, cfg.Store.Pool())},
		queues: map[string]int{}, running: &runningJobs{jobs: map[*runningJob]bool{}}, tally: newTally(cfg.Ended),
	}
	for name, queue := range cfg.queues() {
		r.queues[name] = queue.MaxWorkers
	}
	own := periodicHousekeepers(cfg.Store, cfg.Retention, r.tally.countRemoved, cfg.Logger)
	r.tally.expectTasks(own)
	workers, err := r.workers(own)
	if err != nil {
		return nil, err
	}
	client, err := river.NewClient(newClockDriver(cmp.Or(cfg.RiverPool, cfg.Store.Pool()), r.clock, r.owner, cfg.Logger), &river.Config{
		Schema:               migrations.Schema,
		Logger:               slog.New(warnings{cfg.Logger.Handler()}),
		Queues:               cfg.queues(),
		Workers:              workers,
		PeriodicJobs:         periodicJobs(own, cfg.Registry.periodic),
		Middleware:           []rivertype.Middleware{&attemptMiddleware{store: cfg.Store, logger: cfg.Logger, tally: r.tally, keys: r.keys, running: r.running, tracer: cfg.Tracer}},
		FetchCooldown:        fetchCooldown,
		FetchPollInterval:    cfg.pollInterval,
		FetchOnlyKnownKinds:  true, // another program on this database may know the others
		JobTimeout:           Defaults{}.Timeout(),
		RescueStuckJobsAfter: rescueAfter,
		SoftStopTimeout:      cmp.Or(cfg.softStop, defaultSoftStop),
		ReindexerIndexNames:  reindexed(),
	})
	if err != nil {
		return nil, fmt.Errorf("create the queue client: %w", err)
	}
	r.client = client
	if cfg.Registerer != nil {
		for _, c := range append(r.tally.collectors(), r.owner.given, newLoadCollector(r.Load, cfg.Registry.kindsByQueue())) {
			if err := cfg.Registerer.Register(c); err != nil {
				return nil, fmt.Errorf("register metrics: %w", err)
			}
		}
	}
	return r, nil
}

// reindexed returns the indexes that River rebuilds each night: its own, without
// those that our migrations have dropped.
func reindexed() []string {
	return slices.DeleteFunc(river.ReindexerIndexNamesDefault(), func(name string) bool {
		return name == "river_job_args_index" || name == "river_job_metadata_index"
	})
}

// workers returns a River worker for every kind of job.
func (r *Runtime) workers(own []periodicHousekeeper) (*river.Workers, error) {
	workers := river.NewWorkers()
	for _, kind := range r.registry.Kinds() {
		// AddWorkerArgs takes the kind from the value, not from the type. River
		// documents it as internal, and a test checks what it does.
		t := r.registry.types[kind]
		r.tally.expect(kind)
		r.owner.given.WithLabelValues(kind)
		x := &executor{jobType: t, store: r.store, logger: r.logger, keys: r.keys, conns: r.conns, stopping: &r.stopping, tally: r.tally, tracer: r.tracer}
		if t.batch != nil {
			x.batches = newCoalescer(t.limits, r.queues[t.spec.Queue])
		}
		river.AddWorkerArgs(workers, store.JobArgs{JobKind: kind}, x)
	}
	river.AddWorker(workers, newReplayer(r.store, r.registry, r.logger))
	river.AddWorker(workers, newLaneWaker(r.store))
	for _, h := range own {
		river.AddWorkerArgs(workers, periodicArgs{h.kind}, h.worker)
	}
	for kind, p := range r.registry.periodic {
		river.AddWorkerArgs(workers, periodicArgs{kind}, &periodicWorker{periodic: p})
	}
	for _, f := range r.registry.followUps {
		if err := f.add(workers); err != nil {
			return nil, fmt.Errorf("register follow-up job %T: %w", f.worker, err)
		}
	}
	return workers, nil
}

// Start registers the job types in the database and starts to run jobs. The
// schema must be up to date. The end of ctx does not stop the Runtime: call
// [Runtime.Stop].
func (r *Runtime) Start(ctx context.Context) error {
	if err := r.registry.Register(ctx, r.store, r.logger); err != nil {
		return err
	}
	// River's start queries the database without a deadline. This read has one.
	if err := r.clock.read(ctx, r.store); err != nil {
		return fmt.Errorf("start the queue client: %w", err)
	}
	if err := r.openConns(ctx); err != nil {
		return err
	}
	r.stopping.Store(false)
	r.owner.start(ctx, r.client.ID())
	if err := r.client.Start(context.WithoutCancel(ctx)); err != nil {
		r.owner.stop()
		r.closeConns()
		return fmt.Errorf("start the queue client: %w", err)
	}
	reading, stop := context.WithCancel(context.WithoutCancel(ctx))
	r.stopReading.Store(&stop)
	go r.clock.readPeriodically(reading, r.store)
	r.started.Store(true)
	return nil
}

// Ready returns nil if the Runtime runs jobs, and an error with the reason
// otherwise.
func (r *Runtime) Ready(context.Context) error {
	if !r.started.Load() {
		return errors.New("not started")
	}
	return nil
}

// Stop takes no new jobs and waits for the running ones. After ten seconds it
// cancels their contexts. A job that is interrupted in this way is retried
// later, and the attempt does not count. If ctx ends first, Stop returns its
// error and may be called again. Stop may be called without Start.
func (r *Runtime) Stop(ctx context.Context) error {
	r.started.Store(false)
	r.stopping.Store(true)
	if stop := r.stopReading.Swap(nil); stop != nil {
		(*stop)()
	}
	if err := r.client.Stop(ctx); err != nil {
		return fmt.Errorf("stop the queue client: %w", err)
	}
	r.owner.stop()
	r.closeConns()
	return nil
}

// Close closes the connections of the job types. Call it after the last
// [Runtime.Stop], if that failed. Close waits for the running jobs.
func (r *Runtime) Close() {
	r.closeConns()
	r.owner.stop()
}

// openConns creates the pool of the job types, unless none of them needs one.
func (r *Runtime) openConns(ctx context.Context) (err error) {
	if r.conns.max > 0 {
		r.conns.pool, err = cleanpool.New(context.WithoutCancel(ctx), r.conns.like, r.conns.max)
	}
	return err
}

func (r *Runtime) closeConns() {
	if r.conns.pool != nil {
		r.conns.pool.Close()
	}
}

// warnings drops River's log lines below Warn. The middleware already logs
// failed attempts.
type warnings struct{ slog.Handler }

// Enabled implements slog.Handler.
func (h warnings) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && h.Handler.Enabled(ctx, level)
}

// WithAttrs implements slog.Handler.
func (h warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return warnings{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h warnings) WithGroup(name string) slog.Handler { return warnings{h.Handler.WithGroup(name)} }
