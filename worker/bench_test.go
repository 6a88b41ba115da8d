package worker_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"lumin-ingest/internal/pgdev"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/lumin"
	"lumin-ingest/migrations"
	"lumin-ingest/store"
	"lumin-ingest/worker"
)

// Except for the batches, both sides of BenchmarkRun have the same number of
// connections and run the same number of jobs at once.
const (
	benchConns   = worker.DefaultMaxWorkers + 6
	benchWorkers = worker.DefaultMaxWorkers
)

// BenchmarkRun compares a transactional job type, an ordered one with many and
// with few signature requests, a batch job type with 64 and with 256 slots, and
// JobCompleteTx, River's own way to commit an effect with its job. The server commits durably.
func BenchmarkRun(b *testing.B) {
	server, err := pgdev.Start(b.Context(), pgdev.Config{Durable: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = server.Close() })
	if err := migrations.Up(b.Context(), server.URL()); err != nil {
		b.Fatal(err)
	}
	pool := pgtest.PoolOf(b, server.URL(), benchConns)
	pgtest.Exec(b, pool, `CREATE TABLE public.bench_effects (event_key uuid)`)
	logger := slog.New(slog.DiscardHandler)

	run := func(name string, lanes int, kind, queue string, cfg worker.Config, add func(*worker.Registry)) {
		b.Run(name, func(b *testing.B) {
			s, err := store.New(pool, logger)
			if err != nil {
				b.Fatal(err)
			}
			cfg.Store, cfg.Registry, cfg.Logger = s, worker.NewRegistry(), logger
			add(cfg.Registry)
			runtime, err := worker.New(cfg)
			if err != nil {
				b.Fatal(err)
			}
			drain(b, pool, lanes, kind, queue, runtime.Start, runtime.Stop)
		})
	}
	single := worker.Config{MaxWorkers: benchWorkers}
	run("Runtime", manyLanes, benchJob{}.Kind(), river.QueueDefault, single, func(r *worker.Registry) { r.AddTx(benchJob{}) })
	ordered := func(r *worker.Registry) { r.AddOrdered(benchOrdered{}) }
	run("Ordered", manyLanes, benchOrdered{}.Kind(), river.QueueDefault, single, ordered)
	run("OrderedFewLanes", 16, benchOrdered{}.Kind(), river.QueueDefault, single, ordered)
	for _, slots := range []int{64, 256} {
		kind := benchBatch{}.Kind()
		run(fmt.Sprintf("Batch%d", slots), manyLanes, kind, kind, worker.Config{Queues: map[string]int{kind: slots}},
			func(r *worker.Registry) { r.AddBatch(benchBatch{}) })
	}
	b.Run("JobCompleteTx", func(b *testing.B) {
		workers := river.NewWorkers()
		river.AddWorker(workers, &completeTxWorker{pool: pool})
		client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
			Schema: migrations.Schema, Logger: logger, Workers: workers,
			Queues:        map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: benchWorkers}},
			FetchCooldown: 2 * time.Millisecond, FetchOnlyKnownKinds: true,
		})
		if err != nil {
			b.Fatal(err)
		}
		drain(b, pool, manyLanes, completeTxArgs{}.Kind(), river.QueueDefault, client.Start, client.Stop)
	})
}

// manyLanes stands for a signature request for each four events.
const manyLanes = 0

// drain enqueues b.N jobs with events of so many signature requests, and runs,
// and measures how long they take.
func drain(b *testing.B, pool *pgxpool.Pool, lanes int, kind, queue string, start, stop func(context.Context) error) {
	if lanes == manyLanes {
		lanes = max(b.N/4, 1)
	}
	ctx := context.Background()
	_, err := pool.Exec(ctx, `TRUNCATE lumin.events, lumin.runs, lumin.river_job, public.bench_effects RESTART IDENTITY`)
	if err != nil {
		b.Fatal(err)
	}
	for _, sql := range []string{`
		INSERT INTO lumin.events (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at)
		SELECT md5(n::text)::uuid, 'account', 'r' || n % $3::int, 'x', now() + interval '1 ms' * n, convert_to(repeat('x', 600), 'UTF8'), '\x00', '\x00', 'k', now()
		FROM generate_series(1, $2::int) n WHERE $1::text <> ''`,
		`INSERT INTO lumin.runs (event_key, job_kind, event_id) SELECT event_key, $1, id FROM lumin.events WHERE $2::int > 0 AND $3::int > 0`,
	} {
		if _, err := pool.Exec(ctx, sql, kind, b.N, lanes); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := pool.Exec(ctx, `INSERT INTO lumin.river_job (args, kind, max_attempts, queue)
		SELECT jsonb_build_object('event_key', event_key, 'replay_id', 0), $1, 10, $2 FROM lumin.events`, kind, queue); err != nil {
		b.Fatal(err)
	}
	if _, err := pool.Exec(ctx, `VACUUM ANALYZE lumin.events, lumin.runs, lumin.river_job`); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	if err := start(ctx); err != nil {
		b.Fatal(err)
	}
	// Poll rarely: the query competes with the jobs that are measured.
	for done := 0; done < b.N; {
		time.Sleep(50 * time.Millisecond)
		if err := pool.QueryRow(ctx, `SELECT count(*) FROM public.bench_effects`).Scan(&done); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
	if err := stop(ctx); err != nil {
		b.Fatal(err)
	}
	var left int
	if err := pool.QueryRow(ctx, `SELECT count(*) FROM lumin.river_job WHERE kind = $1 AND state <> 'completed'`, kind).Scan(&left); err != nil {
		b.Fatal(err)
	}
	if left > 0 {
		b.Fatal(fmt.Errorf("%d jobs are not completed", left))
	}
}

// benchJob makes the effect that is measured.
type benchJob struct{ worker.Defaults }

func (benchJob) Kind() string              { return "bench_claim" }
func (benchJob) Events() []lumin.EventType { return []lumin.EventType{lumin.AnyEvent} }
func (benchJob) WorkTx(ctx context.Context, tx pgx.Tx, e *worker.Event) error {
	_, err := tx.Exec(ctx, `INSERT INTO public.bench_effects (event_key) VALUES ($1)`, [16]byte(e.Key))
	return err
}

// benchOrdered makes the same effect in order.
type benchOrdered struct{ benchJob }

func (benchOrdered) Kind() string { return "bench_ordered" }

// benchBatch makes the same effect in batches.
type benchBatch struct{ worker.Defaults }

func (benchBatch) Kind() string              { return "bench_batch" }
func (benchBatch) Events() []lumin.EventType { return []lumin.EventType{lumin.AnyEvent} }
func (benchBatch) WorkBatch(ctx context.Context, tx pgx.Tx, events []*worker.Event) error {
	keys := make([][16]byte, len(events))
	for i, e := range events {
		keys[i] = e.Key
	}
	_, err := tx.Exec(ctx, `INSERT INTO public.bench_effects (event_key) SELECT unnest($1::uuid[])`, keys)
	return err
}

// completeTxArgs and completeTxWorker make the same effect with JobCompleteTx.
type completeTxArgs struct {
	EventKey lumin.EventKey `json:"event_key"`
}

func (completeTxArgs) Kind() string { return "bench_complete_tx" }

type completeTxWorker struct {
	river.WorkerDefaults[completeTxArgs]
	pool *pgxpool.Pool
}

func (w *completeTxWorker) Work(ctx context.Context, job *river.Job[completeTxArgs]) error {
	tx, err := w.pool.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(ctx)
	if _, err := tx.Exec(ctx, `INSERT INTO public.bench_effects (event_key) VALUES ($1)`, [16]byte(job.Args.EventKey)); err != nil {
		return err
	}
	if _, err := river.JobCompleteTx[*riverpgxv5.Driver](ctx, tx, job); err != nil {
		return err
	}
	return tx.Commit(ctx)
}
