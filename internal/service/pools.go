package service

import (
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"lumin-ingest/internal/pgopen"
	"lumin-ingest/worker"
)

// Each kind of work has a pool of its own. If one has no connection left, the
// others go on: slow jobs, River or a scrape cannot stop recording.
//
// While the program runs, its own timeouts end every wait. Most of the server's
// timeouts are a little longer, for a program that has died: the server ends its
// statements and frees its locks. docs/operate.md has a table of all of them, and
// a test compares.

const (
	// recordConns has room for the three flushers of the Recorder, the probe of
	// /readyz, and silent connections, which count until they are closed after 15
	// s.
	recordConns = 8

	// keptConns are connections for the two flushers of the main queue. They stay
	// open, so that recording continues when others take the rest of the server's.
	keptConns = 2

	// countsAtOnce is how many counts of /metrics run at once. Each may take a
	// minute.
	countsAtOnce = 2

	// adminConns has room for these counts, and for one short statement at a time: of a scrape, of the heartbeat, of the
	// history or of the alerts. Each of these gives up after a few seconds.
	adminConns = countsAtOnce + 1

	// pagesConns is how many statements the dashboard runs at once. Readers wait for
	// each other, and for nothing else.
	pagesConns = 4

	// riverUIConns is how many statements River UI runs at once.
	riverUIConns = 2
)

// recordPool is for recording and for /readyz. A delivery is answered within ten
// seconds, and the Recorder gives up after eight.
func recordPool() pgopen.Options {
	return pgopen.Options{
		MaxConns: recordConns, KeptConns: keptConns, Writes: true, NoticeSilence: true,
		StatementTimeout: 10 * time.Second, LockTimeout: time.Second, IdleInTransaction: 10 * time.Second,
	}
}

// workPool is for internal jobs and for the statements before and after plain job
// types. A step of an internal job takes at most 30 s.
func workPool(c worker.Config) pgopen.Options {
	return pgopen.Options{
		MaxConns: c.Connections(), Writes: true,
		StatementTimeout: time.Minute, LockTimeout: 30 * time.Second, IdleInTransaction: 30 * time.Second,
	}
}

// jobPool is for transactional job types. Each has its own timeout, which also
// ends a wait for a lock.
func jobPool(c worker.Config) pgopen.Options {
	longest := c.Registry.LongestAttempt()
	return pgopen.Options{MaxConns: c.JobConnections(), Writes: true, StatementTimeout: longest, IdleInTransaction: longest}
}

// riverPool is for River's statements. Its longest one rebuilds an index at night,
// and River gives it up after a minute.
func riverPool(c worker.Config) pgopen.Options {
	return pgopen.Options{
		MaxConns: c.RiverConnections(), Writes: true,
		StatementTimeout: 75 * time.Second, LockTimeout: time.Minute, IdleInTransaction: 30 * time.Second,
	}
}

// adminPool is for the metrics, the history, the alerts and this program's row in
// lumin.programs.
func adminPool() pgopen.Options {
	return pgopen.Options{
		MaxConns: adminConns, Writes: true,
		StatementTimeout: time.Minute, LockTimeout: 2 * time.Second, IdleInTransaction: 10 * time.Second,
	}
}

// pagesPool is for the dashboard. Counts in the background get 30 s, actions 25 s.
func pagesPool() pgopen.Options {
	return pgopen.Options{
		MaxConns: pagesConns, Writes: true, NoJIT: true,
		StatementTimeout: 40 * time.Second, LockTimeout: 5 * time.Second, IdleInTransaction: 10 * time.Second,
	}
}

// riverUIPool is for River UI. Some of its lists and counts read every job of a queue,
// and each open page repeats them every few seconds.
func riverUIPool() pgopen.Options {
	return pgopen.Options{
		MaxConns: riverUIConns, Writes: true, NoJIT: true,
		StatementTimeout: 2 * time.Second, LockTimeout: time.Second, IdleInTransaction: 10 * time.Second,
	}
}

// envPool is the name of the pool that job types get as Env.DB.
const envPool = "env"

// poolCollector shows how many connections of each pool are in use.
type poolCollector struct {
	pools map[string]*pgxpool.Pool // by name

	limit *prometheus.Desc
	busy  *prometheus.Desc
}

func newPoolCollector(pools map[string]*pgxpool.Pool) *poolCollector {
	return &poolCollector{
		pools: pools,
		limit: prometheus.NewDesc("lumin_pool_connections", "Connections that this program may have, by pool.", []string{"pool"}, nil),
		busy:  prometheus.NewDesc("lumin_pool_connections_busy", "Connections that are in use or being opened, by pool.", []string{"pool"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *poolCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.limit
	out <- c.busy
}

// Collect implements prometheus.Collector.
func (c *poolCollector) Collect(out chan<- prometheus.Metric) {
	for name, pool := range c.pools {
		stat := pool.Stat()
		out <- prometheus.MustNewConstMetric(c.limit, prometheus.GaugeValue, float64(stat.MaxConns()), name)
		out <- prometheus.MustNewConstMetric(c.busy, prometheus.GaugeValue, float64(stat.AcquiredConns()+stat.ConstructingConns()), name)
	}
}
