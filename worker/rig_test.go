package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/testlog"
	"lumin-ingest/internal/wait"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/worker"
)

// waitTimeout is how long a test waits for a condition.
const waitTimeout = 45 * time.Second

// rig is a database with the helpers that the tests of this package need.
type rig struct {
	t      *testing.T
	ctx    context.Context
	url    string
	pool   *pgxpool.Pool
	store  *store.Store
	logger *slog.Logger
	logs   *logBuffer
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, ctx: context.Background(), url: pgtest.New(t), logs: &logBuffer{}}
	r.pool = r.connect()
	r.logger = slog.New(slog.NewJSONHandler(r.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	if r.store, err = store.New(r.pool, r.logger); err != nil {
		t.Fatal(err)
	}
	r.exec(`CREATE SCHEMA shop`)
	r.exec(`CREATE TABLE shop.effects (kind text NOT NULL, event_key uuid NOT NULL, note text)`)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the program:\n%s", r.logs.Tail(20_000))
		}
	})
	return r
}

// connect opens a pool large enough for every worker of a test.
func (r *rig) connect() *pgxpool.Pool {
	r.t.Helper()
	return pgtest.PoolOf(r.t, r.url, 12)
}

// start runs job types until the test ends or the Runtime is stopped.
func (r *rig) start(types ...worker.JobType) *worker.Runtime {
	r.t.Helper()
	return r.startConfig(worker.Config{MaxWorkers: 8}.Quick(200*time.Millisecond), types...)
}

// startUnpolled is start for a Runtime that finds jobs by notifications only.
func (r *rig) startUnpolled(types ...worker.JobType) *worker.Runtime {
	r.t.Helper()
	return r.startConfig(worker.Config{}.Unpolled(), types...)
}

func (r *rig) startConfig(cfg worker.Config, types ...worker.JobType) *worker.Runtime {
	r.t.Helper()
	return r.startRegistry(cfg, registryOf(types...))
}

func (r *rig) startRegistry(cfg worker.Config, registry *worker.Registry) *worker.Runtime {
	r.t.Helper()
	cfg.Store, cfg.Logger, cfg.Registry = r.store, r.logger, registry
	rt, err := worker.New(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := rt.Start(r.ctx); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { r.stop(rt) })
	return rt
}

func (r *rig) stop(rt *worker.Runtime) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.ctx, waitTimeout)
	defer cancel()
	if err := rt.Stop(ctx); err != nil {
		r.t.Error(err)
	}
}

func registryOf(types ...worker.JobType) *worker.Registry {
	registry := worker.NewRegistry()
	for _, t := range types {
		switch t := t.(type) {
		case worker.Batch:
			registry.AddBatch(t)
		case worker.Transactional:
			registry.AddTx(t)
		case worker.Plain:
			registry.Add(t)
		}
	}
	return registry
}

// record stores the event with this number for the given job types, and returns
// its key.
func (r *rig) record(n int, types ...worker.JobType) lumin.EventKey {
	r.t.Helper()
	return r.recordMany(n, n, types...)[0]
}

// recordMany stores the events with these numbers in as few transactions as
// possible.
func (r *rig) recordMany(first, last int, types ...worker.JobType) []lumin.EventKey {
	r.t.Helper()
	recorder := store.NewRecorder(r.store, r.logger, nil)
	defer recorder.Close()
	jobs := registryOf(types...).Route("account", lumin.SignatureRequestApproved)
	keys := make([]lumin.EventKey, last-first+1)
	var group sync.WaitGroup
	for i := range keys {
		envelope := &lumin.Envelope{
			SignatureRequestID: fmt.Sprintf("request-%d", first+i),
			EventType:          lumin.SignatureRequestApproved,
			EventTime:          time.UnixMilli(1694664207595 + int64(first+i)),
		}
		keys[i] = envelope.Key()
		group.Go(func() {
			_, err := recorder.Record(r.ctx, store.Delivery{
				Source: "account", Envelope: envelope, Signature: make([]byte, 32), KeyID: "k", ReceivedAt: time.Now(), Jobs: jobs,
				Payload: fmt.Appendf(nil, `{"title":"canary title %d","email":"canary@example.com"}`, first+i),
			})
			if err != nil {
				r.t.Error(err)
			}
		})
	}
	group.Wait()
	return keys
}

func (r *rig) exec(sql string, args ...any) int {
	r.t.Helper()
	return pgtest.Exec(r.t, r.pool, sql, args...)
}

// count returns the one number that a query gives.
func (r *rig) count(sql string, args ...any) int {
	r.t.Helper()
	return pgtest.Value[int](r.t, r.pool, sql, args...)
}

func (r *rig) effects(kind string) int {
	r.t.Helper()
	return r.count(`SELECT count(*) FROM shop.effects WHERE kind = $1`, kind)
}

// wait waits until done returns true. If that takes too long, it fails the test
// and reports the open runs and jobs.
func (r *rig) wait(what string, done func() bool) {
	r.t.Helper()
	if !wait.For(waitTimeout, done) {
		r.t.Fatalf("did not happen within %s: %s; runs: %v; jobs: %v", waitTimeout, what,
			r.rows(`SELECT job_kind, state, attempts, error FROM lumin.runs WHERE state <> 'succeeded' ORDER BY 1 LIMIT 20`),
			r.rows(`SELECT kind, state, attempt, scheduled_at FROM lumin.river_job WHERE state <> 'completed' ORDER BY id LIMIT 20`))
	}
}

// waitQuiet waits until every run is settled and every job of a job type is
// finished.
func (r *rig) waitQuiet() {
	r.t.Helper()
	r.wait("all runs and jobs to end", func() bool {
		return r.count(`SELECT (SELECT count(*) FROM lumin.runs WHERE state = 'pending') + (SELECT count(*) FROM lumin.river_job
			WHERE kind NOT LIKE 'lumin\_%' AND state NOT IN ('completed', 'discarded', 'cancelled'))`) == 0
	})
}

func (r *rig) rows(sql string) (all []string) {
	rows, err := r.pool.Query(r.ctx, sql)
	if err != nil {
		return []string{err.Error()}
	}
	all, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		values, err := row.Values()
		return strings.TrimSpace(fmt.Sprintln(values...)), err
	})
	if err != nil {
		return []string{err.Error()}
	}
	return all
}

// run is a run with its last failure and its only job.
type run struct {
	State    string
	ReplayID int64
	Attempts int
	Error    string

	Failures      int
	FailureState  string
	FailureErrors []string

	JobState  string
	JobTries  int
	JobErrors []string
	Metadata  string
}

func (r *rig) run(kind string, key lumin.EventKey) (got run) {
	r.t.Helper()
	err := r.pool.QueryRow(r.ctx, `
		SELECT r.state, r.replay_id, r.attempts, coalesce(r.error, ''),
		       (SELECT count(*) FROM lumin.failures f WHERE f.event_key = r.event_key AND f.job_kind = r.job_kind),
		       coalesce(f.state, ''), ARRAY (SELECT x.e ->> 'error' FROM unnest(f.errors) x (e)),
		       j.state::text, j.attempt, ARRAY (SELECT x.e ->> 'error' FROM unnest(j.errors) x (e)), j.metadata::text
		FROM lumin.runs r
		JOIN lumin.river_job j ON j.kind = r.job_kind AND j.args ->> 'event_key' = r.event_key::text
		                      AND (j.args ->> 'replay_id')::bigint = r.replay_id
		LEFT JOIN LATERAL (SELECT * FROM lumin.failures f WHERE f.event_key = r.event_key AND f.job_kind = r.job_kind
		                   ORDER BY f.id DESC LIMIT 1) f ON true
		WHERE r.job_kind = $1 AND r.event_key = $2 ORDER BY j.id LIMIT 1`, kind, [16]byte(key)).
		Scan(&got.State, &got.ReplayID, &got.Attempts, &got.Error, &got.Failures, &got.FailureState, &got.FailureErrors,
			&got.JobState, &got.JobTries, &got.JobErrors, &got.Metadata)
	if err != nil {
		r.t.Fatalf("run of %s: %v", kind, err)
	}
	return got
}

// txJob is a job type made of functions. Each call inserts one effect first.
type txJob struct {
	worker.Defaults
	kind     string
	attempts int           // 0: 2
	timeout  time.Duration // 0: the default
	backoff  func(attempt int) time.Duration
	work     func(ctx context.Context, tx pgx.Tx, call int) error
	calls    *atomic.Int32
}

func newTxJob(kind string, work func(ctx context.Context, tx pgx.Tx, call int) error) *txJob {
	return &txJob{kind: kind, work: work, calls: &atomic.Int32{}}
}

func (j *txJob) Kind() string            { return j.kind }
func (*txJob) Events() []lumin.EventType { return []lumin.EventType{lumin.AnyEvent} }

func (j *txJob) MaxAttempts() int {
	if j.attempts > 0 {
		return j.attempts
	}
	return 2
}

func (j *txJob) Timeout() time.Duration {
	if j.timeout > 0 {
		return j.timeout
	}
	return j.Defaults.Timeout()
}

func (j *txJob) Backoff(attempt int) time.Duration {
	if j.backoff != nil {
		return j.backoff(attempt)
	}
	return time.Millisecond
}

func (j *txJob) WorkTx(ctx context.Context, tx pgx.Tx, e *worker.Event) error {
	call := int(j.calls.Add(1))
	if err := addEffect(ctx, tx, j.kind, e, ""); err != nil {
		return err
	}
	if j.work == nil {
		return nil
	}
	return j.work(ctx, tx, call)
}

func addEffect(ctx context.Context, tx pgx.Tx, kind string, e *worker.Event, note string) error {
	_, err := tx.Exec(ctx, `INSERT INTO shop.effects (kind, event_key, note) VALUES ($1, $2, $3)`, kind, [16]byte(e.Key), note)
	return err
}

// plainJob is a plain job type made of a function.
type plainJob struct {
	worker.Defaults
	kind  string
	work  func(ctx context.Context, e *worker.Event, call int) error
	calls *atomic.Int32
}

func newPlainJob(kind string, work func(ctx context.Context, e *worker.Event, call int) error) *plainJob {
	return &plainJob{kind: kind, work: work, calls: &atomic.Int32{}}
}

func (j *plainJob) Kind() string            { return j.kind }
func (*plainJob) Events() []lumin.EventType { return []lumin.EventType{lumin.AnyEvent} }
func (*plainJob) MaxAttempts() int          { return 3 }
func (*plainJob) Backoff(int) time.Duration { return time.Millisecond }
func (j *plainJob) Work(ctx context.Context, e *worker.Event) error {
	return j.work(ctx, e, int(j.calls.Add(1)))
}

// logBuffer keeps what a logger writes.
type logBuffer struct{ testlog.Buffer }

// errorsOf lists the error texts that were logged about attempts of a kind.
func (b *logBuffer) errorsOf(kind string) (texts []string) {
	for line := range strings.Lines(b.String()) {
		var entry struct{ Msg, Kind, Error string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Kind == kind && entry.Error != "" {
			texts = append(texts, entry.Error)
		}
	}
	return texts
}

var errNo = errors.New("no")

// hasty is a plain job type with a short timeout.
type hasty struct{ *plainJob }

func (hasty) Timeout() time.Duration { return time.Second }
