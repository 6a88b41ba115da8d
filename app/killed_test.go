//go:build unix

package app

import (
	"context"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"lumin-ingest/internal/sample"
	"lumin-ingest/lumin"
	"lumin-ingest/worker"
)

// gated is common to four job types, one of each sort. Each waits until
// lumin_test.broken is empty, and then has its effect. There is one attempt, and
// its timeout is longer than the test waits, so River's rescue has no part in it.
type gated struct {
	worker.Defaults
	kind string
}

func (g gated) Kind() string            { return g.kind }
func (gated) Events() []lumin.EventType { return []lumin.EventType{lumin.SignatureRequestSigned} }
func (gated) MaxAttempts() int          { return 1 }
func (gated) Timeout() time.Duration    { return 10 * time.Minute }

func (g gated) pass(ctx context.Context, db interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}, e *worker.Event,
) error {
	for closed := true; closed; {
		if err := db.QueryRow(ctx, `SELECT EXISTS (SELECT FROM lumin_test.broken)`).Scan(&closed); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	_, err := db.Exec(ctx, `INSERT INTO lumin_test.effects (event_key, job_kind) VALUES ($1, $2)`, e.Key.String(), g.kind)
	return err
}

type (
	gatedTx    struct{ gated }
	gatedBatch struct{ gated }
	gatedPlain struct {
		gated
		env Env
	}
)

func (g gatedTx) WorkTx(ctx context.Context, tx pgx.Tx, e *worker.Event) error {
	return g.pass(ctx, tx, e)
}

func (g gatedBatch) WorkBatch(ctx context.Context, tx pgx.Tx, events []*worker.Event) error {
	for _, e := range events {
		if err := g.pass(ctx, tx, e); err != nil {
			return err
		}
	}
	return nil
}

func (g gatedPlain) Work(ctx context.Context, e *worker.Event) error {
	return g.pass(ctx, g.env.DB, e)
}

func gatedJobTypes(env Env) *worker.Registry {
	registry := worker.NewRegistry()
	registry.Add(gatedPlain{gated{kind: "plain"}, env})
	registry.AddTx(gatedTx{gated{kind: "transactional"}})
	registry.AddBatch(gatedBatch{gated{kind: "batch"}})
	registry.AddOrdered(gatedTx{gated{kind: "ordered"}})
	return registry
}

// takenUpWithin is the promise: after kill -9, another program or the same one
// after an immediate restart takes up the jobs.
const takenUpWithin = 10 * time.Second

// The running jobs of a killed program run again soon, in a program that runs
// beside it or is started afterwards. LUMIN_TEST_KILLS is the number of kills.
func TestKilledWhileWorking(t *testing.T) {
	kills, err := strconv.Atoi(os.Getenv("LUMIN_TEST_KILLS"))
	if err != nil {
		t.Skip("slow: make test-slow runs it")
	}
	t.Parallel()
	url := newDatabase(t)
	db := connect(t, url)
	start := func() *program { return startProgram(t, serveEnv(url, "TEST_JOBS=gated"), "serve") }
	took := map[string][]time.Duration{}
	p := start()
	for n := range kills {
		p.waitReady()
		execute(t, db, `INSERT INTO lumin_test.broken VALUES ('gate')`)
		deliverTo(t, p.public(), body(sample.Delivery{EventType: lumin.SignatureRequestSigned, SignatureRequestID: strconv.Itoa(n)}))
		eventually(t, 20*time.Second, "all job types are at work", func() bool {
			return number(t, db, `SELECT count(*) FROM lumin.river_job j JOIN lumin.runs r ON r.job_id = j.id
				WHERE j.state = 'running' AND r.state = 'pending' AND r.job_kind IN ('plain', 'transactional', 'batch', 'ordered')`) == 4
		})
		next, when := p, "restarted"
		if n%2 == 0 {
			when = "beside"
			next = start()
			next.waitReady()
		}
		p.signal(syscall.SIGKILL)
		p.wait(10 * time.Second)
		killed := time.Now()
		execute(t, db, `DELETE FROM lumin_test.broken`)
		if next == p {
			next = start()
		}
		for kind, after := range takenUp(t, db, killed) {
			took[when+" "+kind] = append(took[when+" "+kind], after)
		}
		p = next
	}
	for what, times := range took {
		slices.Sort(times)
		t.Logf("%-24s %d kills, taken up after: median %s, worst %s", what, len(times), times[len(times)/2].Round(100*time.Millisecond), times[len(times)-1].Round(100*time.Millisecond))
		if worst := times[len(times)-1]; worst > takenUpWithin {
			t.Errorf("%s: taken up after %s", what, worst)
		}
	}
	for _, kind := range []string{"transactional", "batch", "ordered"} {
		wantNumber(t, db, kills, `SELECT count(*) FROM lumin_test.effects WHERE job_kind = $1`, kind)
	}
	wantNumber(t, db, kills, `SELECT count(DISTINCT event_key) FROM lumin_test.effects WHERE job_kind = 'plain'`)
	wantNumber(t, db, 0, `SELECT count(*) FROM lumin.failures`)
}

// takenUp returns how long after the kill the open run of each kind has succeeded.
func takenUp(t *testing.T, db *pgx.Conn, killed time.Time) map[string]time.Duration {
	t.Helper()
	open := func() []string {
		var kinds []string
		err := db.QueryRow(t.Context(), `SELECT coalesce(array_agg(job_kind), '{}') FROM lumin.runs WHERE state <> 'succeeded'
			AND job_kind IN ('plain', 'transactional', 'batch', 'ordered')`).Scan(&kinds)
		if err != nil {
			t.Fatal(err)
		}
		return kinds
	}
	after := map[string]time.Duration{}
	eventually(t, time.Minute, "all runs have succeeded", func() bool {
		left := open()
		for _, kind := range strings.Fields("plain transactional batch ordered") {
			if _, done := after[kind]; !done && !slices.Contains(left, kind) {
				after[kind] = time.Since(killed)
			}
		}
		return len(left) == 0
	})
	return after
}
