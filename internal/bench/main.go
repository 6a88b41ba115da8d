//go:build unix

// Command bench measures operators' tasks on a database with many events and
// compares the results with targets. It uses a private PostgreSQL that waits
// for its disk. The results depend on the machine, so a target that was met
// once is not a promise.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/pgdev"
	"lumin-ingest/internal/pgopen"
	"lumin-ingest/lumin"
	"lumin-ingest/migrations"
	"lumin-ingest/store"
	"lumin-ingest/store/catalog"
	"lumin-ingest/store/failures"
	"lumin-ingest/store/replay"
	"lumin-ingest/store/retention"
)

func main() {
	events := flag.Int("events", 1_000_000, "number of events in the database")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *events); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is a filled database with its measurements.
type bench struct {
	url    string
	pool   *pgxpool.Pool
	store  *store.Store
	events int
	rows   [][3]string // task, measured, target
}

func run(ctx context.Context, events int) (err error) {
	// PostgreSQL's default, instead of the smaller value for tests.
	server, err := pgdev.Start(ctx, pgdev.Config{Durable: true, Settings: map[string]string{"shared_buffers": "128MB"}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	if err := migrations.Up(ctx, server.URL()); err != nil {
		return err
	}
	pool, err := pgopen.Pool(ctx, server.URL(), pgopen.Options{MaxConns: 8})
	if err != nil {
		return err
	}
	defer pool.Close()
	st, err := store.New(pool, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	b := &bench{url: server.URL(), pool: pool, store: st, events: events}
	for _, step := range []func(context.Context) error{b.fill, b.export, b.listings, b.plans, b.replay, b.retention} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return b.print()
}

func (b *bench) add(what, measured, wanted string) {
	b.rows = append(b.rows, [3]string{what, measured, wanted})
	fmt.Fprintf(os.Stderr, "%s: %s\n", what, measured) // the table comes at the end
}

func (b *bench) print() error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "ON %d EVENTS\tMEASURED\tTARGET\n", b.events)
	for _, row := range b.rows {
		fmt.Fprintf(w, "%s\t%s\t%s\n", row[0], row[1], row[2])
	}
	return w.Flush()
}

// fillSQL creates ten events per minute, of five types, each with a failed run.
// The keys begin with the time, like real ones.
const fillSQL = `
WITH e AS (
    INSERT INTO lumin.events (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at)
    SELECT (lpad(to_hex(1700000000000 + n * 6000::bigint), 12, '0') || substr(md5(n::text), 13))::uuid, CASE n % 100 WHEN 0 THEN 'app:crm' ELSE 'account' END, md5((n / 5)::text),
           (ARRAY['signature_request_created', 'signature_request_viewed', 'signature_request_signed', 'signature_request_approved', 'signature_request_downloadable'])[1 + n % 5],
           to_timestamp(1.7e9 + n * 6), convert_to('{"n":' || n || ',"x":"' || repeat(md5(n::text), 14) || '"}', 'UTF8'), sha256(n::text::bytea), sha256(n::text::bytea), '0011223344556677',
           to_timestamp(1.7e9 + n * 6 + 1)
    FROM generate_series($1::int, $2::int) n RETURNING id, event_key, received_at
)
INSERT INTO lumin.runs (event_key, job_kind, event_id, state, attempts, error, finished_at)
SELECT event_key, 'book', id, 'failed', 10, 'invoice ' || id || ' is gone', received_at FROM e`

func (b *bench) fill(ctx context.Context) error {
	const step = 50_000
	for from := 1; from <= b.events; from += step {
		if _, err := b.pool.Exec(ctx, fillSQL, from, min(from+step-1, b.events)); err != nil {
			return fmt.Errorf("fill: %w", err)
		}
	}
	if _, err := b.pool.Exec(ctx, `VACUUM ANALYZE`); err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	return nil
}

// best returns the shortest duration of five calls.
func best(do func() error) (time.Duration, error) {
	shortest := time.Duration(0)
	for range 5 {
		start := time.Now()
		if err := do(); err != nil {
			return 0, err
		}
		if took := time.Since(start); shortest == 0 || took < shortest {
			shortest = took
		}
	}
	return shortest, nil
}

func (b *bench) listings(ctx context.Context) error {
	const wanted = "<= 20ms"
	middle := time.Unix(1_700_000_000+int64(b.events)*3, 0)
	for what, f := range map[string]store.EventFilter{
		"events":                                  {},
		"events of a rare source":                 {Source: "app:crm"},
		"events of a type":                        {EventType: "signature_request_approved"},
		"events of a type without any":            {EventType: "signature_request_invalid"},
		"events of one signature request":         {SignatureRequestID: "c4ca4238a0b923820dcc509a6f75849b"},
		"events of the first half":                {ReceivedUntil: &middle},
		"events of the second half, oldest first": {ReceivedSince: &middle, OldestFirst: true},
		"unrecognized events":                     {Unrecognized: true},
		"events of a source without any":          {Source: "app:none"},
	} {
		f.Limit = 50
		took, err := best(func() error { _, err := b.store.ListEvents(ctx, f); return err })
		if err != nil {
			return err
		}
		b.add("first page of "+what, took.Round(100*time.Microsecond).String(), wanted)
	}
	for what, sql := range map[string]string{
		"lumin.failed_runs":             `SELECT * FROM lumin.failed_runs LIMIT 50`,
		"lumin.conflicts":               `SELECT * FROM lumin.conflicts LIMIT 50`,
		"lumin.event_status, an event":  `SELECT * FROM lumin.event_status WHERE event_id = 1000`,
		"lumin.event_status, a request": `SELECT * FROM lumin.event_status WHERE signature_request_id = 'c4ca4238a0b923820dcc509a6f75849b'`,
	} {
		took, err := best(func() error { _, err := b.pool.Exec(ctx, sql); return err })
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		b.add("first page of "+what, took.Round(100*time.Microsecond).String(), wanted)
	}
	took, err := best(func() error { _, err := replay.New(b.store).List(ctx, 50); return err })
	if err != nil {
		return err
	}
	b.add("first page of replays", took.Round(100*time.Microsecond).String(), wanted)
	took, err = best(func() error { _, err := failures.Failed(ctx, b.store.Pool(), nil, nil, 20); return err })
	b.add("failures, every run failed", took.Round(time.Millisecond).String(), "")
	return err
}

func (b *bench) plans(ctx context.Context) error {
	since := time.Unix(1_700_000_000, 0)
	if _, err := catalog.AddJobTypes(ctx, b.store.Pool(), []catalog.JobType{{Kind: "late", Queue: "default"}}); err != nil {
		return err
	}
	for what, f := range map[string]replay.Filter{
		"plan of all failed":            {Status: replay.Failed},
		"plan of failed, by event type": {Status: replay.Failed, EventTypes: []string{"signature_request_approved"}},
		"plan of failed, by time":       {Status: replay.Failed, ReceivedSince: &since},
		"plan of failed, by source":     {Status: replay.Failed, Sources: []string{"account"}},
		"plan of failed, one event":     {Status: replay.Failed, EventIDs: []int64{1000}},
		"plan of missing":               {Status: replay.Missing, Kinds: []string{"late"}},
		"plan of missing, by type":      {Status: replay.Missing, Kinds: []string{"late"}, EventTypes: []string{"signature_request_approved"}},
	} {
		took, err := best(func() error { _, err := replay.New(b.store).Plan(ctx, f); return err })
		if err != nil {
			return err
		}
		b.add(what, took.Round(time.Millisecond).String(), "<= 1s")
	}
	return nil
}

func (b *bench) replay(ctx context.Context) error {
	replays := replay.New(b.store)
	spec := store.JobSpec{Queue: "default", MaxAttempts: 10, Priority: 1}
	jobs := replay.Jobs{Specs: map[string]store.JobSpec{"book": spec, "late": spec}}
	for what, f := range map[string]replay.Filter{
		"replay of failed runs":  {Status: replay.Failed},
		"replay of missing runs": {Status: replay.Missing, Kinds: []string{"late"}},
	} {
		id, err := replays.Place(ctx, replay.NewOrder{Filter: f, Reason: "bench"})
		if err != nil {
			return err
		}
		order, err := replays.Start(ctx, id)
		if err != nil {
			return err
		}
		enqueued, start := 0, time.Now()
		for page := (replay.Page{}); !page.Exhausted; {
			if page, err = replays.TakePage(ctx, order, jobs, page.Next, 0); err != nil {
				return err
			}
			enqueued += page.Enqueued
		}
		b.add(what, fmt.Sprintf("%.0f runs/s", float64(enqueued)/time.Since(start).Seconds()), ">= 30000 runs/s")
	}
	return nil
}

// fewFailures measures the list of failures when one run in a hundred has
// failed.
func (b *bench) fewFailures(ctx context.Context) error {
	for _, sql := range []string{
		`UPDATE lumin.runs SET state = 'failed', finished_at = now() WHERE job_kind = 'book' AND event_id % 100 = 0`,
		`VACUUM ANALYZE lumin.runs`, // as autovacuum does some time after a replay of all failures
	} {
		if _, err := b.pool.Exec(ctx, sql); err != nil {
			return fmt.Errorf("prepare failures: %w", err)
		}
	}
	took, err := best(func() error { _, err := failures.Failed(ctx, b.store.Pool(), nil, nil, 20); return err })
	b.add("first page of failures, one run in 100", took.Round(100*time.Microsecond).String(), "<= 20ms")
	return err
}

// retention removes half of the events in slices, like a worker, while
// deliveries arrive at a steady rate. The other half has pending runs, so it
// stays.
func (b *bench) retention(ctx context.Context) error {
	if err := b.fewFailures(ctx); err != nil {
		return err
	}
	for _, sql := range []string{
		`UPDATE lumin.runs SET state = 'succeeded', finished_at = now() WHERE state IN ('pending', 'failed') AND event_id % 2 = 0`,
		`VACUUM ANALYZE`,
		`CHECKPOINT`,
	} {
		if _, err := b.pool.Exec(ctx, sql); err != nil {
			return fmt.Errorf("prepare retention: %w", err)
		}
	}
	policy := retention.Policy{Payloads: 90 * 24 * time.Hour, Events: 400 * 24 * time.Hour}
	took, err := best(func() error { _, _, err := retention.Plan(ctx, b.pool, policy, time.Now()); return err })
	if err != nil {
		return err
	}
	b.add("plan of retention", took.Round(time.Millisecond).String(), "")
	recorder := store.NewRecorder(b.store, slog.New(slog.DiscardHandler), nil)
	defer recorder.Close()
	enough := make(chan struct{})
	close(enough)
	var idle time.Duration
	for range 2 { // the first call is a warm-up: earlier writes are still being flushed
		if idle, err = deliver(ctx, recorder, enough); err != nil {
			return err
		}
	}
	var removed retention.Removed
	done, failed := make(chan struct{}), make(chan error, 1)
	start := time.Now()
	var length time.Duration
	go func() {
		defer close(done)
		var err error
		removed, err = b.retain(ctx, policy)
		length = time.Since(start)
		failed <- err
	}()
	busy, err := deliver(ctx, recorder, done)
	if err := errors.Join(err, <-failed); err != nil {
		return err
	}
	b.add("retention, half of the events stay", fmt.Sprintf("%.0f rows/s", float64(removed.Rows())/length.Seconds()), ">= 20000 rows/s")
	b.add("p99 of a delivery meanwhile", fmt.Sprintf("%.1f times the idle one (%s)", float64(busy)/float64(idle), idle.Round(100*time.Microsecond)), "< 2 times")
	return nil
}

func (b *bench) retain(ctx context.Context, policy retention.Policy) (done retention.Removed, err error) {
	for pass := retention.NewPass(policy, time.Now()); err == nil && !pass.Finished(); {
		var removed retention.Removed
		removed, err = pass.Continue(ctx, b.pool, 10*time.Second)
		done.Payloads += removed.Payloads
		done.Events += removed.Events
		done.Runs += removed.Runs
		done.Redeliveries += removed.Redeliveries
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return done, err
}

// deliver records a delivery with two jobs every ten milliseconds. It stops
// when until is closed, but not before 1,000 deliveries. It returns the 99th
// percentile of the time per delivery.
func deliver(ctx context.Context, r *store.Recorder, until <-chan struct{}) (p99 time.Duration, err error) {
	spec := store.JobSpec{Queue: "default", MaxAttempts: 10, Priority: 1}
	book, late := spec, spec
	book.Kind, late.Kind = "book", "late"
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var took []time.Duration
	for stop := false; !stop || len(took) < 1000; {
		select {
		case <-until:
			stop, until = true, nil
		case <-tick.C:
			start := time.Now()
			id := fmt.Sprintf("%032x", start.UnixNano())
			body := fmt.Appendf(nil, `{"id":%q,"x":%q}`, id, strings.Repeat("x", 450))
			_, err := r.Record(ctx, store.Delivery{
				Source: "account", Payload: body, Signature: body[:32], KeyID: "0011223344556677", ReceivedAt: start, Jobs: []store.JobSpec{book, late},
				Envelope: &lumin.Envelope{SignatureRequestID: id, EventType: lumin.SignatureRequestSigned, EventTime: start.Truncate(time.Millisecond)},
			})
			if err != nil {
				return 0, err
			}
			took = append(took, time.Since(start))
		}
	}
	slices.Sort(took)
	return took[len(took)*99/100], nil
}
