package workertest_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/lumin"
	"lumin-ingest/worker"
	"lumin-ingest/worker/workertest"
)

const totals = `CREATE TABLE public.totals (day date PRIMARY KEY, events int NOT NULL)`

// countDays counts events by day, in one statement for a batch.
type countDays struct {
	worker.Defaults
	sizes *[]int
	leaks *int // effects outside the transaction; nil: none
}

func (countDays) Kind() string              { return "count_days" }
func (countDays) Events() []lumin.EventType { return []lumin.EventType{lumin.AnyEvent} }
func (j countDays) WorkBatch(ctx context.Context, tx pgx.Tx, events []*worker.Event) error {
	if j.sizes != nil {
		*j.sizes = append(*j.sizes, len(events))
	}
	if j.leaks != nil {
		*j.leaks++
	}
	days := make([]time.Time, len(events))
	for i, e := range events {
		days[i] = e.Time
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO public.totals AS t (day, events) SELECT d::date, count(*) FROM unnest($1::timestamptz[]) d GROUP BY 1 ORDER BY 1
		ON CONFLICT (day) DO UPDATE SET events = t.events + excluded.events`, days)
	return err
}

func total(t *testing.T, db *workertest.Database) int {
	t.Helper()
	return pgtest.Value[int](t, db.Pool, `SELECT coalesce(sum(events), 0)::int FROM public.totals`)
}

func eventsOf(n int) []workertest.Event {
	events := make([]workertest.Event, n)
	for i := range events {
		events[i].SignatureRequestID = fmt.Sprintf("request-%d", i)
	}
	return events
}

func TestRunBatch(t *testing.T) {
	t.Parallel()
	db := workertest.NewDatabase(t, totals)
	var sizes []int
	for i, r := range db.RunBatch(t, countDays{sizes: &sizes}, eventsOf(20)) {
		workertest.Succeeded(t, r)
		if r.Attempts != 1 || r.Calls != 1 || r.Event == nil || r.Event.SignatureRequestID != fmt.Sprintf("request-%d", i) {
			t.Errorf("result %d: %+v", i, r)
		}
	}
	if fmt.Sprint(sizes) != "[20]" || total(t, db) != 20 {
		t.Errorf("batches of %v, %d counted", sizes, total(t, db))
	}
}

func TestRunBatchWithPoison(t *testing.T) {
	t.Parallel()
	db := workertest.NewDatabase(t, totals)
	for i, r := range db.RunBatch(t, countDays{}, eventsOf(20), workertest.Poison(7)) {
		if i == 7 {
			workertest.Failed(t, r, "poisoned event")
			continue
		}
		workertest.Succeeded(t, r)
		if r.Attempts != 1 || len(r.Errors) > 0 {
			t.Errorf("result %d: %+v", i, r)
		}
	}
	if n := total(t, db); n != 19 {
		t.Errorf("%d counted, want 19", n)
	}
}

func TestRunBatchWithCrash(t *testing.T) {
	t.Parallel()
	db := workertest.NewDatabase(t, totals)
	var sizes []int
	for _, r := range db.RunBatch(t, countDays{sizes: &sizes}, eventsOf(4), workertest.Crash(1)) {
		workertest.Succeeded(t, r)
	}
	if fmt.Sprint(sizes) != "[4 2 2]" || total(t, db) != 4 {
		t.Errorf("batches of %v, %d counted", sizes, total(t, db))
	}
}

func TestBatchTwice(t *testing.T) {
	t.Parallel()
	db := workertest.NewDatabase(t, totals)
	r := workertest.Twice(t, db, countDays{}, workertest.Event{}, func() int { return total(t, db) })
	if r.Attempts != 2 || total(t, db) != 1 {
		t.Errorf("%+v, %d counted", r, total(t, db))
	}
}

// An effect in memory remains when the transaction is rolled back.
func TestBatchTwiceNoticesLeaks(t *testing.T) {
	t.Parallel()
	db := workertest.NewDatabase(t, totals)
	leaks := 0
	got := failures(t, func(t testing.TB) {
		workertest.Twice(t, db, countDays{leaks: &leaks}, workertest.Event{}, func() int { return leaks })
	})
	if want := "count_days has an effect although its transaction was rolled back"; !strings.Contains(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
