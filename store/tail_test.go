package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgdev"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store"
)

const insertSomeSQL = `
INSERT INTO lumin.events (event_key, source, payload, payload_sha256, signature, key_id, received_at)
SELECT gen_random_uuid(), $1, '', '', '', 'k', now() FROM generate_series(1, $2::int)`

func insertSome(tb testing.TB, db querier, source string, n int) {
	tb.Helper()
	exec(tb, db, insertSomeSQL, source, n)
}

func tail(tb testing.TB, s *store.Store, f store.EventFilter) (*store.Tail, []int64) {
	tb.Helper()
	t, events, err := s.NewTail(tb.Context(), f)
	if err != nil {
		tb.Fatal(err)
	}
	return t, idsOf(events)
}

func idsOf(events []store.EventSummary) []int64 {
	ids := []int64{}
	for _, e := range events {
		ids = append(ids, e.ID)
	}
	return ids
}

func wantNext(tb testing.TB, t *store.Tail, want ...int64) {
	tb.Helper()
	events, err := t.Next(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	if got := idsOf(events); !slices.Equal(got, want) {
		tb.Errorf("next are %v, want %v", got, want)
	}
}

func commit(tb testing.TB, tx pgx.Tx) {
	tb.Helper()
	if err := tx.Commit(tb.Context()); err != nil {
		tb.Fatal(err)
	}
}

// Transactions commit in another order than their ids, or roll back. Some began
// before the tail.
func TestTailOutOfOrder(t *testing.T) {
	t.Parallel()
	s := storeOn(t, pgtest.PoolOf(t, pgtest.New(t), 8))
	first := begin(t, s)
	insertSome(t, first, "account", 1)
	insertSome(t, s.Pool(), "account", 3)
	rest, begun := tail(t, s, store.EventFilter{Limit: 2})
	if fmt.Sprint(begun) != "[3 4]" {
		t.Errorf("begins with %v", begun)
	}
	wantNext(t, rest)
	slow, gone := begin(t, s), begin(t, s)
	insertSome(t, slow, "account", 1)     // 5
	insertSome(t, gone, "account", 300)   // to 305
	insertSome(t, s.Pool(), "account", 1) // 306
	insertSome(t, slow, "account", 2)     // 307, 308
	insertSome(t, s.Pool(), "app:crm", 1) // 309
	wantNext(t, rest, 306, 309)
	wantNext(t, rest)
	commit(t, first)
	wantNext(t, rest, 1)
	if err := gone.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantNext(t, rest)
	commit(t, slow)
	insertSome(t, s.Pool(), "account", 1) // 310
	wantNext(t, rest, 5, 307, 308, 310)
	wantNext(t, rest)
	if rest.MissingRanges() != 0 {
		t.Errorf("still waits for %d ranges of ids that no transaction can insert", rest.MissingRanges())
	}
}

// A transaction inserts missing ids just before and just after the list of
// transactions is read.
func TestTailMissingIDsOfEndedTransaction(t *testing.T) {
	t.Parallel()
	s := storeOn(t, pgtest.PoolOf(t, pgtest.New(t), 8))
	rest, _ := tail(t, s, store.EventFilter{})
	slow := begin(t, s)
	insertSome(t, slow, "account", 1)
	insertSome(t, s.Pool(), "account", 1)
	wantNext(t, rest, 2)
	commit(t, slow) // the tail has not read that it holds a lock
	wantNext(t, rest, 1)
	wantNext(t, rest)
}

// Only a prepared transaction survives a restart. It does not count as ended.
func TestTailPreparedTransaction(t *testing.T) {
	t.Parallel()
	server := ownServer(t, pgdev.Config{Settings: map[string]string{"max_prepared_transactions": "5"}})
	s := storeOn(t, pgtest.PoolOf(t, server.URL(), 8))
	rest, _ := tail(t, s, store.EventFilter{})
	for _, name := range []string{"kept", "gone"} {
		tx := begin(t, s)
		insertSome(t, tx, "account", 1) // 1, 2
		exec(t, tx, `PREPARE TRANSACTION '`+name+`'`)
		commit(t, tx) // has no effect after PREPARE TRANSACTION
	}
	insertSome(t, s.Pool(), "account", 1) // 3
	wantNext(t, rest, 3)
	wantNext(t, rest)
	for _, mode := range []pgdev.ShutdownMode{pgdev.Fast, pgdev.Kill} {
		if err := server.Halt(mode); err != nil {
			t.Fatal(err)
		}
		if err := server.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the tail continues", func() bool {
			events, err := rest.Next(t.Context())
			if len(events) > 0 {
				t.Errorf("arrived too early: %v", idsOf(events))
			}
			return err == nil
		})
		wantNext(t, rest)
	}
	exec(t, s.Pool(), `ROLLBACK PREPARED 'gone'`)
	wantNext(t, rest)
	exec(t, s.Pool(), `COMMIT PREPARED 'kept'`)
	wantNext(t, rest, 1)
	if rest.MissingRanges() != 0 {
		t.Errorf("still waits for %d ranges of ids that no transaction can insert", rest.MissingRanges())
	}
}

func TestTailFilter(t *testing.T) {
	t.Parallel()
	s := storeOn(t, pgtest.PoolOf(t, pgtest.New(t), 8))
	insertSome(t, s.Pool(), "app:crm", 3)
	insertSome(t, s.Pool(), "account", 2)
	rest, begun := tail(t, s, store.EventFilter{Source: "app:crm", Limit: 2})
	if fmt.Sprint(begun) != "[2 3]" {
		t.Errorf("begins with %v", begun)
	}
	wantNext(t, rest)
	wantNext(t, rest)
	if rest.MissingRanges() != 0 {
		t.Error("events that do not match count as missing")
	}
	insertSome(t, s.Pool(), "account", 1)
	insertSome(t, s.Pool(), "app:crm", 1)
	wantNext(t, rest, 7)
	ids := recordAll(t, s, delivery(1), delivery(2))
	byRequest, begun := tail(t, s, store.EventFilter{SignatureRequestID: "request-2", Limit: 9})
	if len(begun) != 1 || begun[0] != ids[1].EventID {
		t.Errorf("of request-2: %v", begun)
	}
	byType, _ := tail(t, s, store.EventFilter{EventType: "signature_request_signed"})
	other, same := delivery(3), delivery(2)
	other.Envelope.EventType, same.Envelope.EventType = "signature_request_sent", "signature_request_viewed"
	last := recordAll(t, s, other, same)
	wantNext(t, byRequest, last[1].EventID)
	wantNext(t, byType)
}

// There are more events than fit into one page, above the newest and among the
// missing ids.
func TestTailPages(t *testing.T) {
	t.Parallel()
	s := storeOn(t, pgtest.PoolOf(t, pgtest.New(t), 8))
	rest, _ := tail(t, s, store.EventFilter{})
	slow := begin(t, s)
	insertSome(t, slow, "account", 2500)
	insertSome(t, s.Pool(), "account", 2500)
	got := allNext(t, rest)
	if len(got) != 2500 || got[0] != 2501 || !slices.IsSorted(got) {
		t.Errorf("%d events", len(got))
	}
	commit(t, slow)
	if got = allNext(t, rest); len(got) != 2500 || got[2499] != 2500 || !slices.IsSorted(got) {
		t.Errorf("%d events with missing ids", len(got))
	}
	// A call returns before the first matching event, if many events before it
	// do not match.
	rest, _ = tail(t, s, store.EventFilter{Source: "app:crm"})
	insertSome(t, s.Pool(), "account", 3000)
	insertSome(t, s.Pool(), "app:crm", 1)
	wantNext(t, rest, 8001)
}

func allNext(tb testing.TB, t *store.Tail) []int64 {
	tb.Helper()
	var all []int64
	for {
		events, err := t.Next(tb.Context())
		if err != nil {
			tb.Fatal(err)
		}
		if len(events) == 0 {
			return all
		}
		all = append(all, idsOf(events)...)
	}
}

// writeAtRandom inserts events in transactions on six connections. Some of them
// roll back. The channel is closed when all have ended.
func writeAtRandom(t *testing.T, s *store.Store) (written chan struct{}) {
	t.Helper()
	var writers sync.WaitGroup
	for range 6 {
		writers.Go(func() {
			for range 60 {
				_ = pgx.BeginFunc(t.Context(), s.Pool(), func(tx pgx.Tx) error {
					for range 1 + rand.IntN(3) {
						if _, err := tx.Exec(t.Context(), insertSomeSQL, "account", 1+rand.IntN(5)); err != nil {
							t.Error(err)
						}
					}
					if rand.IntN(4) == 0 {
						return context.Canceled // rolled back
					}
					return nil
				})
			}
		})
	}
	written = make(chan struct{})
	go func() { writers.Wait(); close(written) }()
	return written
}

// Writers commit in any order and sometimes roll back, and a connection is
// terminated again and again. Every event arrives once.
func TestTailWhileWriting(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := storeOn(t, pgtest.PoolOf(t, url, 12))
	reader := storeOn(t, pgtest.PoolOf(t, url, 1))
	exec(t, reader.Pool(), `SELECT 1`)
	rest, _ := tail(t, reader, store.EventFilter{})
	written := writeAtRandom(t, s)
	seen := map[int64]int{}
	failed := 0
	for deadline, turn, ended := time.Now().Add(2*timeout), 0, false; ; turn++ {
		if time.Now().After(deadline) {
			t.Fatalf("timed out: the end of the events, after lost connections (there were %d)", failed)
		}
		if turn%10 == 5 {
			exec(t, s.Pool(), `SELECT pg_terminate_backend($1)`, pidOf(t, reader))
		}
		events, err := rest.Next(t.Context())
		if err != nil {
			failed++
			continue
		}
		for _, e := range events {
			seen[e.ID]++
		}
		if ended && len(events) == 0 && failed > 0 { // fast writers may end before the first loss
			break
		}
		select {
		case <-written:
			ended = ended || err == nil && len(events) == 0
		default:
		}
	}
	for _, id := range value[[]int64](t, s.Pool(), `SELECT array_agg(id) FROM lumin.events`) {
		if seen[id] != 1 {
			t.Errorf("event %d arrived %d times", id, seen[id])
		}
		delete(seen, id)
	}
	if len(seen) > 0 {
		t.Errorf("events that do not exist: %v", seen)
	}
	if rest.MissingRanges() != 0 {
		t.Errorf("still waits for %d ranges of ids", rest.MissingRanges())
	}
}

func pidOf(tb testing.TB, s *store.Store) int {
	tb.Helper()
	conns := s.Pool().AcquireAllIdle(tb.Context())
	defer func() {
		for _, c := range conns {
			c.Release()
		}
	}()
	if len(conns) == 0 {
		return 0
	}
	return int(conns[0].Conn().PgConn().PID())
}
