package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	"lumin-ingest/migrations"
	"lumin-ingest/store"
)

// Config is what a [Runtime] needs.
type Config struct {
	Store    *store.Store
	Registry *Registry
	Logger   *slog.Logger

	// MaxWorkers is how many jobs of one queue run at a time; 0 means
	// [DefaultMaxWorkers]. A transactional job holds a connection while it runs.
	MaxWorkers int

	Registerer prometheus.Registerer // nil: metrics are not registered

	softStop     time.Duration // 0 means defaultSoftStop; tests wait for less
	pollInterval time.Duration // 0 means River's second; likewise
}

// DefaultMaxWorkers keeps two cores of server and database busy with small
// transactional jobs.
const DefaultMaxWorkers = 16

const (
	// River fetches at most MaxWorkers jobs per cooldown and queue.
	fetchCooldown = 2 * time.Millisecond

	// River takes a job for stuck after this time, or after the job type's own
	// timeout if that is longer. It must be more than the default timeout.
	rescueAfter = 15 * time.Second

	// When the program stops, running jobs get this long before their context
	// is cancelled.
	defaultSoftStop = 10 * time.Second
)

// Runtime works the jobs of a Registry through River.
type Runtime struct {
	store    *store.Store
	registry *Registry
	logger   *slog.Logger
	keys     riverKeys
	client   *river.Client[pgx.Tx]
	running  atomic.Bool
}

// New prepares a Runtime without connecting. It refuses a Registry with errors.
func New(cfg Config) (*Runtime, error) {
	if err := cfg.Registry.Err(); err != nil {
		return nil, err
	}
	outcomes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lumin_attempts_total",
		Help: "Attempts of jobs by kind and outcome.",
	}, []string{"kind", "outcome"})
	r := &Runtime{store: cfg.Store, registry: cfg.Registry, logger: cfg.Logger, keys: findRiverKeys()}
	client, err := river.NewClient(riverpgxv5.New(cfg.Store.Pool()), &river.Config{
		Schema:               migrations.Schema,
		Logger:               slog.New(warnings{cfg.Logger.Handler()}),
		Queues:               r.queues(cmp.Or(cfg.MaxWorkers, DefaultMaxWorkers)),
		Workers:              r.workers(),
		PeriodicJobs:         periodicJobs(),
		Middleware:           []rivertype.Middleware{&containment{logger: cfg.Logger, outcomes: outcomes, keys: r.keys}},
		FetchCooldown:        fetchCooldown,
		FetchPollInterval:    cfg.pollInterval,
		FetchOnlyKnownKinds:  true, // another program on this database may know the others
		JobTimeout:           Defaults{}.Timeout(),
		RescueStuckJobsAfter: rescueAfter,
		SoftStopTimeout:      cmp.Or(cfg.softStop, defaultSoftStop),
	})
	if err != nil {
		return nil, fmt.Errorf("create the queue client: %w", err)
	}
	r.client = client
	if cfg.Registerer != nil {
		if err := cfg.Registerer.Register(outcomes); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return r, nil
}

func (r *Runtime) queues(maxWorkers int) map[string]river.QueueConfig {
	queues := map[string]river.QueueConfig{internalQueue: {MaxWorkers: 2}}
	for _, queue := range r.registry.Queues() {
		queues[queue] = river.QueueConfig{MaxWorkers: maxWorkers}
	}
	return queues
}

func (r *Runtime) workers() *river.Workers {
	workers := river.NewWorkers()
	for _, kind := range r.registry.Kinds() {
		// River means this function for itself: it takes the kind from the value
		// and not from the type. A test holds it to that.
		river.AddWorkerArgs(workers, store.JobArgs{JobKind: kind}, &executor{
			jobType: r.registry.types[kind], store: r.store, logger: r.logger, keys: r.keys,
		})
	}
	river.AddWorker(workers, &replayer{store: r.store, specs: r.registry.specs(), logger: r.logger})
	river.AddWorker(workers, newSweeper(r.store, r.logger))
	return workers
}

// Start registers the job types in the database and begins to work. The schema
// must be up to date. It goes on until [Runtime.Stop], whatever becomes of ctx.
func (r *Runtime) Start(ctx context.Context) error {
	unknown, err := r.store.RegisterJobTypes(ctx, r.registry.rows())
	if err != nil {
		return err
	}
	if len(unknown) > 0 {
		r.logger.Warn("job types that other programs have registered and this one does not know: "+
			"their jobs wait for a program that does, and runs that this one records are not made for them",
			"kinds", unknown)
	}
	// River's start looks at the database without a deadline; this look has one.
	if err := r.store.Pool().Ping(ctx); err != nil {
		return fmt.Errorf("start the queue client: %w", err)
	}
	if err := r.client.Start(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("start the queue client: %w", err)
	}
	r.running.Store(true)
	return nil
}

// Stop takes no new jobs and waits for the running ones, whose contexts are
// cancelled after ten seconds; what is interrupted so is tried again later, and
// the attempt is not counted. If ctx ends first, Stop returns its error and may be
// called again. It may be called without Start.
func (r *Runtime) Stop(ctx context.Context) error {
	r.running.Store(false)
	if err := r.client.Stop(ctx); err != nil {
		return fmt.Errorf("stop the queue client: %w", err)
	}
	return nil
}

// Ready tells why no jobs are being worked; nil if they are.
func (r *Runtime) Ready(context.Context) error {
	if !r.running.Load() {
		return errors.New("not started")
	}
	return nil
}

// warnings keeps River's chatter out of the log: failed attempts are logged by
// containment already.
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
