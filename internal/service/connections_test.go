package service

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"lumin-ingest/internal/pgopen"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/wait"
	"lumin-ingest/worker"
)

func TestConnections(t *testing.T) {
	t.Parallel()
	registry := worker.NewRegistry()
	registry.AddTx(counted{kind: "book_invoice"})
	for name, c := range map[string]struct {
		cfg  Config
		want int
	}{
		"ingest": {Config{Ingest: true, Registry: registry}, 3 + 4 + 2 + 8},
		"worker": {Config{Work: true, Registry: registry, MaxWorkers: 5}, 3 + 4 + 2 + 7 + 3 + 2 + 5},
		"all":    {Config{Ingest: true, Work: true, Registry: registry, MaxWorkers: 5}, 3 + 4 + 2 + 8 + 7 + 3 + 2 + 5},
		"queues": {Config{Work: true, Registry: registry, MaxWorkers: 5, Queues: map[string]int{"default": 2}}, 3 + 4 + 2 + 7 + 3 + 2 + 2},
	} {
		if got := c.cfg.connections(); got != c.want {
			t.Errorf("%s: %d connections, want %d", name, got, c.want)
		}
	}
}

// The tables of connections and timeouts are those of the code.
func TestConnectionsOnThePage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/operate.md")
	if err != nil {
		t.Fatal(err)
	}
	registry := worker.NewRegistry()
	registry.AddTx(counted{kind: "book_invoice"})
	cfg := worker.Config{Registry: registry}
	for name, o := range map[string]pgopen.Options{"record": recordPool(), "work": workPool(cfg), "river": riverPool(cfg), "admin": adminPool(), "pages": pagesPool(), "river_ui": riverUIPool()} {
		timeouts := "| `" + name + "` |"
		for _, d := range []time.Duration{o.StatementTimeout, o.LockTimeout, o.IdleInTransaction} {
			if d%time.Minute == 0 {
				timeouts += fmt.Sprintf(" %d min |", d/time.Minute)
			} else {
				timeouts += fmt.Sprintf(" %d s |", d/time.Second)
			}
		}
		if !strings.Contains(string(page), timeouts) {
			t.Errorf("no row %s", timeouts)
		}
		conns := o.MaxConns
		if name == "river" {
			conns -= len(registry.Queues())
		}
		if row := regexp.MustCompile("(?m)^\\| `" + name + "`:[^|]*\\| " + strconv.Itoa(conns) + "\\b"); !row.Match(page) {
			t.Errorf("no row %s", row)
		}
	}
	if o := jobPool(cfg); o.StatementTimeout != registry.LongestAttempt() || o.IdleInTransaction != o.StatementTimeout || o.LockTimeout != 0 {
		t.Errorf("job types have other timeouts than on the page: %+v", o)
	}
}

// A program that may take more connections than PostgreSQL gives says so when it
// starts, and works.
func TestTooFewConnections(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	pool := pgtest.Pool(t, url)
	pgtest.Exec(t, pool, `INSERT INTO lumin.programs (id, host, pid, role, job_kinds, connections) VALUES (gen_random_uuid(), 'other', 1, 'all', '{}', 10000)`)
	i := startService(t, url, func(cfg *Config) { cfg.Work = false })
	i.waitReady(t)
	var line map[string]any
	wait.Within(t, 30*time.Second, "it warns", func() bool {
		line = i.log.First("PostgreSQL has too few connections for all programs")
		return line != nil
	})
	if found, _ := line["found"].(string); !strings.HasPrefix(found, "running programs: 2, which take up to 10017 connections;") {
		t.Errorf("found %q", found)
	}
	wait.Within(t, 30*time.Second, "its row has its connections", func() bool {
		return pgtest.Value[int](t, pool, `SELECT count(*) FROM lumin.programs WHERE connections = 17`) == 1
	})
}
