package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"lumin-ingest/internal/cleanpool"
	"lumin-ingest/migrations"
	"lumin-ingest/store"
	"lumin-ingest/store/retention"
)

// Config is what a [Runtime] needs.
type Config struct {
	Store    *store.Store
	Registry *Registry
	Logger   *slog.Logger

	// MaxWorkers is how many jobs of one queue run at a time; 0 means
	// [DefaultMaxWorkers]. A transactional job holds a connection while it runs.
	MaxWorkers int

	// Queues overrides MaxWorkers for some queues, each by its name. [New] refuses
	// one in which no job of the Registry waits.
	Queues map[string]int

	Retention retention.Policy // what is removed when it is too old; the zero value keeps all

	Registerer prometheus.Registerer // nil: metrics are not registered

	softStop     time.Duration // 0 means defaultSoftStop; tests wait for less
	pollInterval time.Duration // 0 means River's second; likewise
}

// DefaultMaxWorkers keeps two cores of server and database busy with small
// transactional jobs.
const DefaultMaxWorkers = 16

const (
	// maxReplays is how many replay orders are carried out side by side; they spend
	// much of their time waiting.
	maxReplays = 16

	// maxPeriodic has room for each of the program's own periodic jobs.
	maxPeriodic = 3

	// clientConns are what River itself needs: to listen, to fetch, to complete.
	clientConns = 3

	// sharedConns are for replays, readiness, and the reads of runs before and after
	// plain job types. Each use takes one for a statement or a short transaction.
	sharedConns = 6

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
	conns    *jobConns
	queues   map[string]int // number of workers by queue
	atWork   *atWork
	running  atomic.Bool
	clock    *databaseClock
	follow   atomic.Pointer[context.CancelFunc] // stops reading the database's clock
}

// New prepares a Runtime without connecting. It refuses a Registry with errors.
func New(cfg Config) (*Runtime, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	outcomes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lumin_attempts_total",
		Help: "Attempts of jobs by kind and outcome.",
	}, []string{"kind", "outcome"})
	r := &Runtime{
		store: cfg.Store, registry: cfg.Registry, logger: cfg.Logger, keys: findRiverKeys(),
		clock:  &databaseClock{},
		conns:  &jobConns{max: cfg.JobConnections()},
		queues: map[string]int{}, atWork: &atWork{jobs: map[*runningJob]bool{}},
	}
	for name, queue := range cfg.queues() {
		r.queues[name] = queue.MaxWorkers
	}
	workers, err := r.workers(cfg.Retention)
	if err != nil {
		return nil, err
	}
	client, err := river.NewClient(newClockDriver(cfg.Store.Pool(), r.clock, cfg.Logger), &river.Config{
		Schema:               migrations.Schema,
		Logger:               slog.New(warnings{cfg.Logger.Handler()}),
		Queues:               cfg.queues(),
		Workers:              workers,
		PeriodicJobs:         periodicJobs(cfg.Registry.periodic),
		Middleware:           []rivertype.Middleware{&containment{logger: cfg.Logger, outcomes: outcomes, keys: r.keys, atWork: r.atWork}},
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
		for _, c := range []prometheus.Collector{outcomes, newLoadCollector(r.Load, cfg.Registry.kindsByQueue())} {
			if err := cfg.Registerer.Register(c); err != nil {
				return nil, fmt.Errorf("register metrics: %w", err)
			}
		}
	}
	return r, nil
}

// validate refuses what the settings cannot mean.
func (c Config) validate() error {
	if err := c.Registry.Err(); err != nil {
		return err
	}
	known := c.Registry.Queues()
	for _, queue := range slices.Sorted(maps.Keys(c.Queues)) {
		switch n := c.Queues[queue]; {
		case !slices.Contains(known, queue):
			return fmt.Errorf("%w: %q is given workers, and no job waits in it; those of the job types are %s", ErrQueue, queue, strings.Join(known, ", "))
		case n < 1 || n > maxWorkers:
			return fmt.Errorf("%w: %q is given %d workers: give 1 to %d", ErrQueue, queue, n, maxWorkers)
		}
	}
	return nil
}

// ErrQueue is that of Config.Queues that cannot be meant.
var ErrQueue = errors.New("queue")

// maxWorkers is River's limit for a queue, as far as it makes sense.
const maxWorkers = 1000

// queueWorkers are the workers of each queue of the Registry.
func (c Config) queueWorkers() map[string]int {
	workers := map[string]int{}
	for _, queue := range c.Registry.Queues() {
		workers[queue] = cmp.Or(c.Queues[queue], c.MaxWorkers, DefaultMaxWorkers)
	}
	return workers
}

// Connections is how many connections the Store's pool should have, for the queue and
// the program's own jobs. [Config.JobConnections] are in addition.
func (c Config) Connections() int {
	return clientConns + sharedConns + maxPeriodic + len(c.Registry.periodic)
}

// JobConnections is how many connections transactional job types can take, in a
// pool that the Runtime makes for them: one for each worker of their queues. They
// are made like those of the Store's pool.
func (c Config) JobConnections() (n int) {
	workers := c.queueWorkers()
	for _, queue := range c.Registry.transactionalQueues() {
		n += workers[queue]
	}
	return n
}

func (c Config) queues() map[string]river.QueueConfig {
	queues := map[string]river.QueueConfig{
		replayQueue: {MaxWorkers: maxReplays}, periodicQueue: {MaxWorkers: maxPeriodic + len(c.Registry.periodic)},
	}
	for queue, workers := range c.queueWorkers() {
		queues[queue] = river.QueueConfig{MaxWorkers: workers}
	}
	return queues
}

func (r *Runtime) workers(policy retention.Policy) (*river.Workers, error) {
	workers := river.NewWorkers()
	for _, kind := range r.registry.Kinds() {
		// River means this function for itself: it takes the kind from the value
		// and not from the type. A test holds it to that.
		river.AddWorkerArgs(workers, store.JobArgs{JobKind: kind}, &executor{
			jobType: r.registry.types[kind], store: r.store, logger: r.logger, keys: r.keys, conns: r.conns,
		})
	}
	river.AddWorker(workers, newReplayer(r.store, r.registry, r.logger))
	river.AddWorker(workers, newSweeper(r.store, r.logger))
	river.AddWorker(workers, &eraser{store: r.store, logger: r.logger})
	river.AddWorker(workers, &retainer{store: r.store, policy: policy, slice: internalSlice, logger: r.logger})
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

// Start registers the job types in the database and begins to work. The schema
// must be up to date. It goes on until [Runtime.Stop], whatever becomes of ctx.
func (r *Runtime) Start(ctx context.Context) error {
	if err := r.registry.Register(ctx, r.store, r.logger); err != nil {
		return err
	}
	// River's start looks at the database without a deadline; this look has one.
	if err := r.clock.read(ctx, r.store); err != nil {
		return fmt.Errorf("start the queue client: %w", err)
	}
	if err := r.openConns(ctx); err != nil {
		return err
	}
	if err := r.client.Start(context.WithoutCancel(ctx)); err != nil {
		r.closeConns()
		return fmt.Errorf("start the queue client: %w", err)
	}
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	r.follow.Store(&stop)
	go r.clock.follow(following, r.store)
	r.running.Store(true)
	return nil
}

// openConns makes the pool of the job types, unless none of them needs one.
func (r *Runtime) openConns(ctx context.Context) (err error) {
	if r.conns.max > 0 {
		r.conns.pool, err = cleanpool.New(context.WithoutCancel(ctx), r.store.Pool(), r.conns.max)
	}
	return err
}

// Close closes the job types' connections after a [Runtime.Stop] that failed and will
// not be called again. It waits until the running jobs have ended.
func (r *Runtime) Close() { r.closeConns() }

func (r *Runtime) closeConns() {
	if r.conns.pool != nil {
		r.conns.pool.Close()
	}
}

// Stop takes no new jobs and waits for the running ones, whose contexts are
// cancelled after ten seconds; what is interrupted so is tried again later, and
// the attempt is not counted. If ctx ends first, Stop returns its error and may be
// called again. It may be called without Start.
func (r *Runtime) Stop(ctx context.Context) error {
	r.running.Store(false)
	if stop := r.follow.Swap(nil); stop != nil {
		(*stop)()
	}
	if err := r.client.Stop(ctx); err != nil {
		return fmt.Errorf("stop the queue client: %w", err)
	}
	r.closeConns()
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
