package worker

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/riverqueue/river"

	"lumin-ingest/internal/tracing"
	"lumin-ingest/store"
	"lumin-ingest/store/retention"
)

// Config configures a [Runtime].
type Config struct {
	// Store, Registry and Logger must be set.
	Store    *store.Store
	Registry *Registry
	Logger   *slog.Logger

	// RiverPool is the pool of River's own statements, which fetch and complete
	// jobs. Give it [Config.RiverConnections] connections. nil means the pool of
	// the Store, which then needs these connections in addition.
	RiverPool *pgxpool.Pool

	// JobSettings is a pool with the session settings for transactional job
	// types. The Runtime takes no connection from it, and creates a pool of its
	// own with the same settings, so it may be closed. nil means those of the
	// Store's pool.
	JobSettings *pgxpool.Pool

	// MaxWorkers is the number of jobs of one queue that run at once. 0 means
	// [DefaultMaxWorkers], and in a queue of a transactional job type two for
	// each processor, at least 4 and at most [DefaultMaxWorkers]: each of its
	// jobs keeps the database busy and holds a connection while it runs. The
	// queue of a batch job type has [BatchLimits] instead.
	MaxWorkers int

	// Queues overrides MaxWorkers for queues, by name. [New] refuses a queue
	// that no job type or follow-up job of the Registry uses.
	Queues map[string]int

	// CPUs is the number of processors for which MaxWorkers has its default. 0
	// means GOMAXPROCS, which follows the limit of the container.
	CPUs int

	Retention retention.Policy // how long data is kept; the zero value keeps everything

	// Ended is called after each attempt, before River learns of its outcome. It
	// must not block, and must be safe for concurrent use. nil: it is not called.
	Ended func(Ended)

	Registerer prometheus.Registerer // nil: metrics are not registered

	Tracer *tracing.Tracer // makes a span of each attempt; nil: there are none

	softStop     time.Duration // 0 means defaultSoftStop; shorter in tests
	pollInterval time.Duration // 0 means River's second; shorter in tests
}

// DefaultMaxWorkers is the number of jobs that a queue runs at once if they
// spend their time waiting for other systems.
const DefaultMaxWorkers = 16

// On two cores that PostgreSQL has too, more small transactions at once drain a
// backlog faster, but deliveries wait for them: docs/deploy.md has the figures.
const (
	workersPerCPU = 2
	minWorkers    = 4
)

// transactionalWorkers returns the default of MaxWorkers in a queue of a
// transactional job type.
func transactionalWorkers(cpus int) int {
	return min(max(workersPerCPU*cpus, minWorkers), DefaultMaxWorkers)
}

// maxWorkers is far more than a useful number of workers for a queue, and less
// than River's own limit.
const maxWorkers = 1000

const (
	// maxReplays is the number of replay orders that are carried out at once.
	// They spend much of their time waiting.
	maxReplays = 16

	// maxPeriodic is the number of internal periodic jobs.
	maxPeriodic = 3

	// riverConns are the connections for River's statements besides those that
	// fetch jobs: to complete jobs, and for everything else. Each use is a
	// statement.
	riverConns = 2

	// maxRiverConns is enough for any number of queues: a statement that fetches
	// jobs is short, so many queues can share a connection.
	maxRiverConns = 8

	// sharedConns are connections for replays, readiness, and the statements
	// before and after plain job types. Each use is a statement or a short
	// transaction.
	sharedConns = 4
)

// ErrQueue is in the chain of the error that [New] returns for an invalid entry
// of Config.Queues.
var ErrQueue = errors.New("queue")

// validate returns an error if the Registry or the Queues are invalid.
func (c Config) validate() error {
	if err := c.Registry.Err(); err != nil {
		return err
	}
	known := c.Registry.Queues()
	for _, queue := range slices.Sorted(maps.Keys(c.Queues)) {
		switch n := c.Queues[queue]; {
		case !slices.Contains(known, queue):
			return fmt.Errorf("%w: no job uses %q: the queues in use are %s", ErrQueue, queue, strings.Join(known, ", "))
		case n < 1 || n > maxWorkers:
			return fmt.Errorf("%w: %q has %d workers: give 1 to %d", ErrQueue, queue, n, maxWorkers)
		}
	}
	return nil
}

// queues returns the configuration of every queue, including the internal ones.
func (c Config) queues() map[string]river.QueueConfig {
	queues := map[string]river.QueueConfig{
		replayQueue: {MaxWorkers: maxReplays}, periodicQueue: {MaxWorkers: maxPeriodic + len(c.Registry.periodic)},
	}
	for queue, workers := range c.QueueWorkers() {
		queues[queue] = river.QueueConfig{MaxWorkers: workers}
	}
	return queues
}

// QueueWorkers returns the number of workers of each queue of the Registry.
func (c Config) QueueWorkers() map[string]int {
	workers, slots := map[string]int{}, c.Registry.batchSlots()
	transactional := c.Registry.transactionalQueues()
	for _, queue := range c.Registry.Queues() {
		byDefault := DefaultMaxWorkers
		if slices.Contains(transactional, queue) {
			byDefault = transactionalWorkers(cmp.Or(c.CPUs, runtime.GOMAXPROCS(0)))
		}
		workers[queue] = cmp.Or(c.Queues[queue], slots[queue], c.MaxWorkers, byDefault)
	}
	return workers
}

// Connections returns the number of connections that the pool of the Store
// should have, for the internal jobs: replays, erasures, retention and the
// sweep; and for the statements before and after plain job types.
// [Config.RiverConnections] and [Config.JobConnections] come in addition.
func (c Config) Connections() int {
	return sharedConns + maxPeriodic + len(c.Registry.periodic)
}

// RiverConnections returns the number of connections that River needs: two, and one
// for each queue of the Registry, at most eight. One more, on which it waits for
// notifications, leaves its pool.
func (c Config) RiverConnections() int {
	return min(riverConns+len(c.Registry.Queues()), maxRiverConns)
}

// JobConnections returns the number of connections that transactional job types
// can take: one for each worker of their queues, and for a batch job type one
// for each flusher and two for events that are tried alone. The Runtime creates
// a pool for them; see Config.JobSettings.
func (c Config) JobConnections() (n int) {
	workers := c.QueueWorkers()
	for _, queue := range c.Registry.transactionalQueues() {
		n += workers[queue]
	}
	for _, t := range c.Registry.types {
		if t.batch != nil {
			n += t.limits.flushers(workers[t.spec.Queue]) + aloneConns
		}
	}
	return n
}
