package store_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"

	"lumin-ingest/store"
	"lumin-ingest/store/internal/storetest"
)

// Helpers that the tests of all packages in this folder share.
var (
	newStore   = storetest.New
	storeOn    = storetest.On
	delivery   = storetest.Delivery
	variant    = storetest.Variant
	from       = storetest.From
	specs      = storetest.Specs
	exec       = storetest.Exec
	count      = storetest.Count
	wantState  = storetest.WantState
	eventually = storetest.Eventually
)

type (
	querier = storetest.Querier
	tally   = storetest.Tally
)

const timeout = storetest.Timeout

// value reads one value.
func value[T any](tb testing.TB, db querier, sql string, args ...any) T {
	tb.Helper()
	return storetest.Value[T](tb, db, sql, args...)
}

var silent = slog.New(slog.DiscardHandler)

func newRecorder(tb testing.TB, s *store.Store) *store.Recorder {
	tb.Helper()
	r := store.NewRecorder(s, silent, nil)
	tb.Cleanup(r.Close)
	return r
}

func mustRecord(tb testing.TB, r *store.Recorder, d store.Delivery) store.Receipt {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), timeout)
	defer cancel()
	receipt, err := r.Record(ctx, d)
	if err != nil {
		tb.Fatal(err)
	}
	return receipt
}

// recordAll records deliveries in one transaction.
func recordAll(tb testing.TB, s *store.Store, deliveries ...store.Delivery) []store.Receipt {
	tb.Helper()
	receipts, err := s.RecordBatch(tb.Context(), deliveries...)
	if err != nil {
		tb.Fatal(err)
	}
	return receipts
}

// attempt is the first attempt at a run of an event recorded by recordAll.
func attempt(d store.Delivery, kind string, replayID int64) store.Attempt {
	return store.Attempt{
		JobArgs: store.JobArgs{EventKey: d.Key(), ReplayID: replayID, JobKind: kind},
		JobID:   77, Number: 1,
	}
}

// empty deletes the recorded rows. TRUNCATE takes longer on tables this small.
func empty(tb testing.TB, s *store.Store) {
	tb.Helper()
	for _, table := range []string{"events", "runs", "redeliveries", "failures", "replays", "river_job"} {
		exec(tb, s.Pool(), `DELETE FROM lumin.`+table)
	}
}

func wantTally(tb testing.TB, s *store.Store, want tally) {
	tb.Helper()
	if got := count(tb, s); got != want {
		tb.Errorf("the database holds %+v, want %+v", got, want)
	}
	// There is exactly one job for each run.
	apart := value[int](tb, s.Pool(), `
		SELECT count(*) FROM lumin.runs r
		FULL JOIN lumin.river_job j ON j.args ->> 'event_key' = r.event_key::text AND j.kind = r.job_kind
		WHERE r.event_key IS NULL OR j.id IS NULL`)
	if apart != 0 {
		tb.Errorf("%d runs without a job or jobs without a run", apart)
	}
}

// lockEvents blocks every write of events until release is called.
func lockEvents(tb testing.TB, s *store.Store) (release func()) {
	tb.Helper()
	return holdLock(tb, s, `LOCK TABLE lumin.events IN EXCLUSIVE MODE`)
}

// waitingForEvents is the number of connections that wait for that lock.
func waitingForEvents(tb testing.TB, s *store.Store) int {
	tb.Helper()
	return value[int](tb, s.Pool(), `
		SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'lumin.events'::regclass
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`)
}

// blockFlushers makes both flushers of r wait for a table lock, each with one
// delivery, so that later deliveries wait in the queue. The flushers continue
// when release is called.
func blockFlushers(tb testing.TB, s *store.Store, r *store.Recorder) (release func()) {
	tb.Helper()
	r.WaitForLocks() // the test may need longer than half a second on a busy machine
	unlock := lockEvents(tb, s)
	var blocked sync.WaitGroup
	for n := range store.Flushers {
		blocked.Go(func() { _, _ = r.Record(context.WithoutCancel(tb.Context()), delivery(-1-n)) })
		eventually(tb, "a flusher waits for the table", func() bool { return waitingForEvents(tb, s) == n+1 })
	}
	return func() {
		unlock()
		blocked.Wait()
	}
}

func wantError(tb testing.TB, got, want error) {
	tb.Helper()
	if !errors.Is(got, want) {
		tb.Errorf("error %v, want %v", got, want)
	}
}
