package store_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// patience is how long a test waits for what must come. It is long because it is
// only used up by a test that fails.
const patience = 30 * time.Second

var silent = slog.New(slog.DiscardHandler)

func newStore(tb testing.TB) *store.Store {
	tb.Helper()
	return storeOn(tb, pgtest.Pool(tb, pgtest.New(tb)))
}

func storeOn(tb testing.TB, pool *pgxpool.Pool) *store.Store {
	tb.Helper()
	s, err := store.New(pool, silent)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// poolOf is a pool of a given size.
func poolOf(tb testing.TB, url string, size int32) *pgxpool.Pool {
	tb.Helper()
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		tb.Fatal(err)
	}
	config.MaxConns = size
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(pool.Close)
	return pool
}

func newRecorder(tb testing.TB, s *store.Store) *store.Recorder {
	tb.Helper()
	r := store.NewRecorder(s, silent, nil)
	tb.Cleanup(r.Close)
	return r
}

// delivery is a delivery of one signature request; the same number, the same event.
func delivery(n int, jobs ...string) store.Delivery {
	return variant(n, "https://example.com/?token=1", "title", jobs...)
}

// variant is another delivery of the same event with something else in its body.
func variant(n int, detailsURL, title string, jobs ...string) store.Delivery {
	at := time.UnixMilli(1694664207595 + int64(n)).UTC()
	id := fmt.Sprintf("request-%d", n)
	return store.Delivery{
		Source:   "account",
		Envelope: &lumin.Envelope{SignatureRequestID: id, EventType: lumin.SignatureRequestSigned, EventTime: at},
		Payload: fmt.Appendf(nil, `{"event":{"event_time":%d,"event_type":"signature_request_signed"},`+
			`"signature_request":{"signature_request_id":%q,"title":%q,"details_url":%q}}`,
			at.UnixMilli(), id, title, detailsURL),
		Signature:  make([]byte, 32),
		KeyID:      "0011223344556677",
		ReceivedAt: at.Add(time.Second),
		Jobs:       specs(jobs...),
	}
}

// from is the same delivery by another webhook.
func from(source string, d store.Delivery) store.Delivery {
	d.Source = source
	return d
}

func specs(kinds ...string) []store.JobSpec {
	var list []store.JobSpec
	for _, kind := range kinds {
		list = append(list, store.JobSpec{Kind: kind, Queue: "default", MaxAttempts: 3, Priority: 1})
	}
	return list
}

func mustRecord(tb testing.TB, r *store.Recorder, d store.Delivery) store.Receipt {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
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

// querier is a pool, a connection or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// exec runs a statement of a test.
func exec(tb testing.TB, db querier, sql string, args ...any) {
	tb.Helper()
	rows, err := db.Query(tb.Context(), sql, args...)
	if err == nil {
		rows.Close()
		err = rows.Err()
	}
	if err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
}

// value reads one value.
func value[T any](tb testing.TB, db querier, sql string, args ...any) T {
	tb.Helper()
	rows, err := db.Query(tb.Context(), sql, args...)
	if err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	if err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	return v
}

// empty deletes what was recorded; TRUNCATE takes longer on tables this small.
func empty(tb testing.TB, s *store.Store) {
	tb.Helper()
	for _, table := range []string{"events", "runs", "redeliveries", "failures", "replays", "river_job"} {
		exec(tb, s.Pool(), `DELETE FROM lumin.`+table)
	}
}

// tally is what a database holds.
type tally struct{ Events, Runs, Jobs, Redeliveries int }

func count(tb testing.TB, s *store.Store) tally {
	tb.Helper()
	rows, err := s.Pool().Query(tb.Context(), `
		SELECT (SELECT count(*) FROM lumin.events), (SELECT count(*) FROM lumin.runs),
		       (SELECT count(*) FROM lumin.river_job), (SELECT coalesce(sum(count), 0) FROM lumin.redeliveries)`)
	if err != nil {
		tb.Fatal(err)
	}
	t, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[tally])
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

func wantTally(tb testing.TB, s *store.Store, want tally) {
	tb.Helper()
	if got := count(tb, s); got != want {
		tb.Errorf("the database holds %+v, want %+v", got, want)
	}
	// One job for each run, and for nothing else.
	apart := value[int](tb, s.Pool(), `
		SELECT count(*) FROM lumin.runs r
		FULL JOIN lumin.river_job j ON j.args ->> 'event_key' = r.event_key::text AND j.kind = r.job_kind
		WHERE r.event_key IS NULL OR j.id IS NULL`)
	if apart != 0 {
		tb.Errorf("%d runs without a job or jobs without a run", apart)
	}
}

// runState is a run's state and replay_id, as "pending 0".
func runState(tb testing.TB, s *store.Store, d store.Delivery, kind string) string {
	tb.Helper()
	return value[string](tb, s.Pool(), `SELECT state || ' ' || replay_id FROM lumin.runs WHERE event_key = $1 AND job_kind = $2`,
		d.Key(), kind)
}

func wantState(tb testing.TB, s *store.Store, d store.Delivery, kind, want string) {
	tb.Helper()
	if got := runState(tb, s, d, kind); got != want {
		tb.Errorf("run of %s is %s, want %s", kind, got, want)
	}
}

// eventually waits until done.
func eventually(tb testing.TB, what string, done func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("timed out: %s", what)
		}
	}
}

// lockEvents keeps everybody from writing events until release is called.
func lockEvents(tb testing.TB, s *store.Store) (release func()) {
	tb.Helper()
	conn, err := pgx.Connect(tb.Context(), s.Pool().Config().ConnString())
	if err != nil {
		tb.Fatal(err)
	}
	release = func() { _ = conn.Close(context.WithoutCancel(tb.Context())) }
	tb.Cleanup(release)
	exec(tb, conn, `BEGIN`)
	exec(tb, conn, `LOCK TABLE lumin.events IN EXCLUSIVE MODE`)
	return release
}

// waitingForEvents is how many connections wait for that lock.
func waitingForEvents(tb testing.TB, s *store.Store) int {
	tb.Helper()
	return value[int](tb, s.Pool(), `
		SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'lumin.events'::regclass
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`)
}

// blockFlushers makes both flushers of r wait for a table lock, each with one
// delivery, so that what is recorded next waits in the queue. It goes on when
// release is called.
func blockFlushers(tb testing.TB, s *store.Store, r *store.Recorder) (release func()) {
	tb.Helper()
	r.WaitForLocks() // the test may need longer than a second on a busy machine
	release = lockEvents(tb, s)
	for n := range store.Flushers {
		go r.Record(context.WithoutCancel(tb.Context()), delivery(-1-n))
		eventually(tb, "a flusher waits for the table", func() bool { return waitingForEvents(tb, s) == n+1 })
	}
	return release
}

func wantError(tb testing.TB, got, want error) {
	tb.Helper()
	if !errors.Is(got, want) {
		tb.Errorf("error %v, want %v", got, want)
	}
}
