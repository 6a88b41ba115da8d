package service

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/pgproxy"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/wait"
	"lumin-ingest/worker"
)

// answerWithin is much longer than an answer takes. A delivery that waits for a
// connection is answered 503 after eight seconds.
const answerWithin = 5 * time.Second

// deliverWell sends deliveries by four callers. Each must be answered 200 in time.
func (s *testService) deliverWell(t *testing.T, n int) {
	t.Helper()
	var (
		sent    atomic.Int64
		callers sync.WaitGroup
		mu      sync.Mutex
		slowest time.Duration
	)
	for range 4 {
		callers.Go(func() {
			for sent.Add(1) <= int64(n) {
				start := time.Now()
				status := s.deliver(t, accountKey)
				took := time.Since(start)
				mu.Lock()
				slowest = max(slowest, took)
				mu.Unlock()
				if status != http.StatusOK || took > answerWithin {
					t.Errorf("answered %d after %s", status, took)
					return
				}
			}
		})
	}
	callers.Wait()
	t.Logf("the slowest of %d deliveries was answered after %s", n, slowest)
}

// get requests a path of the admin listener, which must answer in time.
func (s *testService) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	start := time.Now()
	response, err := http.Get("http://" + s.AdminAddr() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if took := time.Since(start); err != nil || took > answerWithin {
		t.Errorf("%s was answered after %s: %v", path, took, err)
	}
	return response.StatusCode, string(text)
}

// locking is a transactional job type. Its jobs lock one row, and the first of
// them keeps it until release is closed.
type locking struct {
	counted
	entered *atomic.Int32
	release chan struct{}
}

func (l locking) WorkTx(ctx context.Context, tx pgx.Tx, _ *worker.Event) error {
	l.entered.Add(1)
	if _, err := tx.Exec(ctx, `SELECT FROM public.locked FOR UPDATE`); err != nil {
		return err
	}
	select {
	case <-l.release:
	case <-ctx.Done():
	}
	return ctx.Err()
}

func (locking) Queue() string          { return "locking" }
func (locking) Timeout() time.Duration { return time.Minute }

// Jobs that hold every connection of their pool, and wait for each other's locks,
// delay no delivery and no other pool.
func TestSlowJobsDoNotDelayDeliveries(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	db := pgtest.Pool(t, url)
	pgtest.Exec(t, db, `CREATE TABLE public.locked AS SELECT 1 AS n`)
	job := locking{counted: counted{kind: "locking"}, entered: &atomic.Int32{}, release: make(chan struct{})}
	const workers = recordConns + 2
	s := startService(t, url, func(cfg *Config) {
		cfg.MaxWorkers, cfg.Queues = 2, map[string]int{"locking": workers}
		cfg.Registry.AddTx(job)
	})
	s.waitReady(t)
	s.deliverWell(t, workers)
	wait.Within(t, 30*time.Second, "jobs hold all connections", func() bool {
		return job.entered.Load() == workers && pgtest.Value[int](t, db, `SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`) == workers-1
	})
	s.deliverWell(t, 40)
	if status, body := s.get(t, "/readyz"); status != http.StatusOK || strings.Contains(body, "warnings") {
		t.Errorf("/readyz answered %d %s", status, body)
	}
	if _, metrics := s.get(t, "/metrics"); !strings.Contains(metrics, "lumin_database_up 1") || !strings.Contains(metrics, `lumin_pending_runs{kind="locking"} 50`) {
		t.Error("/metrics has not counted the waiting runs")
	}
	wait.Within(t, 30*time.Second, "the other job types go on", func() bool {
		return pgtest.Value[int](t, db, `SELECT count(*) FROM lumin.runs WHERE state = 'succeeded'`) == 3*50
	})
	close(job.release)
}

// occupy takes every connection of a pool for a slow statement, until release is
// called.
func occupy(t *testing.T, pool *pgxpool.Pool) (release func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var holding sync.WaitGroup
	for range pool.Config().MaxConns {
		conn, err := pool.Acquire(ctx)
		if err != nil {
			t.Fatal(err)
		}
		holding.Go(func() {
			defer conn.Release()
			_, _ = conn.Exec(ctx, `SELECT pg_sleep(50)`) // it is cancelled
		})
	}
	return func() { cancel(); holding.Wait() }
}

// If a pool has no connection left, deliveries are recorded all the same, and the
// admin listener answers.
func TestExhaustedPoolsDoNotDelayDeliveries(t *testing.T) {
	t.Parallel()
	s := startService(t, pgtest.New(t), func(cfg *Config) { cfg.MaxWorkers = 2 })
	s.waitReady(t)
	for _, name := range []string{"admin", "work", "river", envPool} {
		release := occupy(t, s.pools[name])
		s.deliverWell(t, 40)
		// Without deliveries in the meantime, /readyz depends on its own recording.
		wait.Within(t, 20*time.Second, "/readyz has made a recording", func() bool {
			status, body := s.get(t, "/readyz")
			if status != http.StatusOK {
				t.Errorf("%s: /readyz answered %d %s", name, status, body)
			}
			return strings.Contains(body, "connections of the pool work failed") == (name == "work")
		})
		if status, metrics := s.get(t, "/metrics"); status != http.StatusOK || !strings.Contains(metrics, poolBusy(name, s.pools[name])) {
			t.Errorf("%s: /metrics answered %d without the connections in use", name, status)
		}
		release()
	}
	wait.Within(t, 20*time.Second, "the warning is gone", func() bool {
		_, body := s.get(t, "/readyz")
		return !strings.Contains(body, "warnings")
	})
}

// The dashboard warns of a failed test although nothing asks /readyz, and does not
// keep the warning.
func TestDashboardWarnsOfWorkPool(t *testing.T) {
	t.Parallel()
	s := startService(t, pgtest.New(t), func(cfg *Config) { cfg.MaxWorkers = 2 })
	s.waitReady(t)
	release := occupy(t, s.pools["work"])
	warns := func() bool {
		_, body, _ := s.ask(t, http.MethodGet, "/")
		return strings.Contains(body, "connections of the pool work failed")
	}
	wait.Within(t, 20*time.Second, "the dashboard warns", warns)
	s.get(t, "/readyz")
	release()
	wait.Within(t, 20*time.Second, "the warning is gone", func() bool { return !warns() })
}

// River UI has connections of its own, whose statements end soon. So readers of it hold
// up no page of the dashboard.
func TestRiverUIDoesNotDelayTheDashboard(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := startService(t, url, func(cfg *Config) { cfg.Work = false })
	s.waitReady(t)
	before := s.pools["pages"].Stat().AcquireCount()
	for _, path := range []string{"/river/api/queues", "/river/api/jobs?state=available", "/river/api/states", "/river/api/autocomplete?facet=job_kind"} {
		if status, body := s.get(t, path); status != http.StatusOK {
			t.Errorf("%s is answered %d %s", path, status, body)
		}
	}
	if used := s.pools["pages"].Stat().AcquireCount() - before; used != 0 {
		t.Errorf("River UI has used %d connections of the dashboard", used)
	}
	release := occupy(t, s.pools["river_ui"])
	for _, path := range []string{"/", "/failures", "/api/v1/lanes"} {
		if status, body := s.get(t, path); status != http.StatusOK {
			t.Errorf("%s is answered %d %s", path, status, body)
		}
	}
	release()
	locking := pgtest.Conn(t, url)
	pgtest.Exec(t, locking, `BEGIN; LOCK TABLE lumin.river_job`)
	if status, body := s.get(t, "/river/api/queues"); status != http.StatusInternalServerError {
		t.Errorf("a statement that waits is answered %d %s", status, body)
	}
}

// If the server hangs, or others have all of its connections, deliveries are
// answered 503 in time, and the admin listener answers what is true. Afterwards the
// service goes on.
func TestNoConnection(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	proxy := pgtest.Proxy(t, url)
	s := startService(t, proxy.URL(), func(cfg *Config) { cfg.JobsDB, cfg.MaxWorkers = pgtest.Pool(t, url), 2 })
	s.waitReady(t)
	admin := pgtest.Conn(t, pgtest.AdminURL(t, url))
	limit := func(n int) {
		pgtest.Exec(t, admin, fmt.Sprintf(`DO $$ BEGIN EXECUTE format('ALTER DATABASE %%I CONNECTION LIMIT %d', current_database()); END $$`, n))
	}
	for _, c := range []struct {
		name, reason string // of /readyz
		begin, end   func()
	}{
		{"hangs", "took longer than", func() { hang(t, proxy) }, func() { heal(t, proxy, url) }},
		{"full", "too many connections", func() { limit(0); proxy.Cut() }, func() { limit(-1) }},
	} {
		s.deliverWell(t, 4)
		c.begin()
		start := time.Now()
		if status := s.deliver(t, accountKey); status != http.StatusServiceUnavailable || time.Since(start) > 10*time.Second {
			t.Errorf("%s: a delivery was answered %d after %s", c.name, status, time.Since(start))
		}
		if status, body := s.get(t, "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, c.reason) {
			t.Errorf("%s: /readyz answered %d %s", c.name, status, body)
		}
		if status, metrics := s.get(t, "/metrics"); status != http.StatusOK || !strings.Contains(metrics, "lumin_database_up 0") {
			t.Errorf("%s: /metrics answered %d without lumin_database_up 0", c.name, status)
		}
		c.end()
		s.waitReady(t)
	}
	s.deliverWell(t, 4)
}

// hang makes a server silent: on open connections and on new ones.
func hang(t *testing.T, proxy *pgproxy.Proxy) {
	t.Helper()
	silent, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	setTarget(t, proxy, "postgres://"+silent.Addr().String()+"/x")
	proxy.Silence()
}

func heal(t *testing.T, proxy *pgproxy.Proxy, url string) {
	t.Helper()
	setTarget(t, proxy, url)
	proxy.Cut()
}

func setTarget(t *testing.T, proxy *pgproxy.Proxy, url string) {
	t.Helper()
	if err := proxy.SetTarget(url); err != nil {
		t.Fatal(err)
	}
}

func poolBusy(name string, pool *pgxpool.Pool) string {
	return fmt.Sprintf("lumin_pool_connections_busy{pool=%q} %d\n", name, pool.Config().MaxConns)
}
