package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/pgproxy"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

func TestRecordOnce(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	r := newRecorder(t, s)

	first := mustRecord(t, r, delivery(1, "book", "mail"))
	if first.Status != store.Recorded || first.Conflict {
		t.Errorf("first delivery: %+v", first)
	}
	second := mustRecord(t, r, delivery(1, "book", "mail"))
	if second.Status != store.Duplicate || second.EventID != first.EventID || second.Conflict {
		t.Errorf("second delivery: %+v after %+v", second, first)
	}
	wantTally(t, s, tally{Events: 1, Runs: 2, Jobs: 2, Redeliveries: 1})
}

func TestCopiesAtOnce(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	r := newRecorder(t, s)
	const copies = 100
	var recorded, duplicate atomic.Int32
	var callers sync.WaitGroup
	for range copies {
		callers.Go(func() {
			receipt, err := r.Record(t.Context(), delivery(1, "book"))
			switch {
			case err != nil:
				t.Error(err)
			case receipt.Status == store.Recorded:
				recorded.Add(1)
			case receipt.Status == store.Duplicate:
				duplicate.Add(1)
			}
		})
	}
	callers.Wait()
	if recorded.Load() != 1 || duplicate.Load() != copies-1 {
		t.Errorf("%d recorded, %d duplicate", recorded.Load(), duplicate.Load())
	}
	wantTally(t, s, tally{Events: 1, Runs: 1, Jobs: 1, Redeliveries: copies - 1})
}

// What a sender is told when nobody can know whether COMMIT took effect.
func TestCommitInDoubt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		fault      pgproxy.Fault
		there      int
		repetition store.Status
	}{
		{"request dropped", pgproxy.DropRequest, 0, store.Recorded},
		{"reply dropped", pgproxy.DropReply, 1, store.Duplicate},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, proxy := storeBehindProxy(t)
			r := newRecorder(t, s)
			proxy.AtCommit(c.fault, 1)
			receipt, err := r.Record(t.Context(), delivery(1, "book"))
			wantError(t, err, store.ErrUnavailable)
			if receipt != (store.Receipt{}) {
				t.Errorf("a receipt along with an error: %+v", receipt)
			}
			wantTally(t, s, tally{Events: c.there, Runs: c.there, Jobs: c.there})

			if again := mustRecord(t, r, delivery(1, "book")); again.Status != c.repetition {
				t.Errorf("repetition: %+v, want %s", again, c.repetition)
			}
			wantTally(t, s, tally{Events: 1, Runs: 1, Jobs: 1, Redeliveries: c.there})
		})
	}
}

func storeBehindProxy(tb testing.TB) (*store.Store, *pgproxy.Proxy) {
	tb.Helper()
	proxy, err := pgproxy.Start(pgtest.New(tb))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(proxy.Close)
	return storeOn(tb, pgtest.Pool(tb, proxy.URL())), proxy
}

func TestCopiesWithCommitsCut(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]pgproxy.Fault{"requests": pgproxy.DropRequest, "replies": pgproxy.DropReply} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, proxy := storeBehindProxy(t)
			r := newRecorder(t, s)
			const cuts = 3
			proxy.AtCommit(fault, cuts)
			var failed atomic.Int32
			var callers sync.WaitGroup
			for range 100 {
				callers.Go(func() {
					for {
						_, err := r.Record(t.Context(), delivery(1, "book"))
						if err == nil {
							return
						}
						failed.Add(1)
						if !errors.Is(err, store.ErrUnavailable) {
							t.Error(err)
							return
						}
					}
				})
			}
			callers.Wait()
			if proxy.Struck() != cuts || failed.Load() < cuts {
				t.Errorf("%d commits cut, %d callers told", proxy.Struck(), failed.Load())
			}
			got := count(t, s)
			got.Redeliveries = 0 // those of a commit in doubt may have been counted
			if want := (tally{Events: 1, Runs: 1, Jobs: 1}); got != want {
				t.Errorf("the database holds %+v, want %+v", got, want)
			}
		})
	}
}

// Several programs record the same events at once, in opposite orders, with
// repetitions inside a batch and across them, and with other job types for each
// source, so that the runs of one event come from several places.
func TestWritersInOppositeOrder(t *testing.T) {
	t.Parallel()
	s := storeOn(t, pgtest.PoolOf(t, pgtest.New(t), 16))
	const writers, events, batch = 16, 200, 50
	kindsOf := map[string][]string{
		"account": {"zebra", "common"}, "app:a": {"ant"}, "app:b": {"zebra"}, "app:c": {"ant", "common"},
	}
	var all []store.Delivery
	for n := range events {
		for source, kinds := range kindsOf {
			all = append(all, from(source, delivery(n, kinds...)))
		}
	}
	slices.SortFunc(all, func(a, b store.Delivery) int {
		ka, kb := a.Key(), b.Key()
		return bytes.Compare(ka[:], kb[:])
	})
	var sent atomic.Int64
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(w)))
			mine := slices.Clone(all)
			if w%2 == 1 {
				slices.Reverse(mine)
			}
			for chunk := range slices.Chunk(mine, batch) {
				again := chunk[random.IntN(len(chunk))]
				chunk = append(slices.Clone(chunk), again)
				if _, err := s.RecordBatch(t.Context(), chunk...); err != nil {
					t.Error(err)
					return
				}
				sent.Add(int64(len(chunk)))
			}
		})
	}
	group.Wait()
	want := tally{Events: events * len(kindsOf), Runs: events * 3, Jobs: events * 3}
	want.Redeliveries = int(sent.Load()) - want.Events
	wantTally(t, s, want)
}

// Transactions that bring other sources of the same events wait for each other's
// runs, and must come to them in the same order whichever source has which job
// types.
func TestRunsInOneOrder(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	const rounds, events = 10, 100
	for round := range rounds {
		programs := [2][]store.Delivery{}
		for n := range events {
			n += round * events
			programs[0] = append(programs[0], from("app:a", delivery(n, "zebra")), from("app:b", delivery(n, "ant")))
			programs[1] = append(programs[1], from("app:c", delivery(n, "ant")), from("app:d", delivery(n, "zebra")))
		}
		var group sync.WaitGroup
		for _, batch := range programs {
			group.Go(func() {
				if _, err := s.RecordBatch(t.Context(), batch...); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
	}
	wantTally(t, s, tally{Events: rounds * events * 4, Runs: rounds * events * 2, Jobs: rounds * events * 2})
}

func TestTwoSources(t *testing.T) {
	t.Parallel()
	for name, together := range map[string]bool{"in one batch": true, "one after the other": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			account := delivery(1, "both", "account_only")
			app := from("app:crm", delivery(1, "app_only", "both"))
			var receipts []store.Receipt
			if together {
				receipts = recordAll(t, s, account, app)
			} else {
				receipts = append(recordAll(t, s, account), recordAll(t, s, app)...)
			}
			for _, r := range receipts {
				if r.Status != store.Recorded {
					t.Errorf("%+v, want recorded", r)
				}
			}
			if receipts[0].EventID == receipts[1].EventID {
				t.Error("two sources share an event")
			}
			wantTally(t, s, tally{Events: 2, Runs: 3, Jobs: 3})
			// Each run belongs to the event that brought it.
			for kind, event := range map[string]int64{"both": receipts[0].EventID, "account_only": receipts[0].EventID, "app_only": receipts[1].EventID} {
				if got := value[int64](t, s.Pool(), `SELECT event_id FROM lumin.runs WHERE job_kind = $1`, kind); got != event {
					t.Errorf("run of %s is of event %d, want %d", kind, got, event)
				}
			}
		})
	}
}

// A worker that is at work on an event must not hold up the same event from
// another source, nor whoever shares its batch.
func TestRecordWhileRunIsWorkedOn(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	r := newRecorder(t, s)
	d := delivery(1, "book")
	recordAll(t, s, d)
	tx, err := s.Pool().Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.WithoutCancel(t.Context()))
	if _, err := s.ClaimTx(t.Context(), tx, attempt(d, "book", 0)); err != nil {
		t.Fatal(err)
	}
	if receipt := mustRecord(t, r, from("app:crm", d)); receipt.Status != store.Recorded {
		t.Errorf("%+v, want recorded", receipt)
	}
	wantTally(t, s, tally{Events: 2, Runs: 1, Jobs: 1})
}

func TestUnrecognized(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	r := newRecorder(t, s)
	d := store.Delivery{Source: "account", Payload: []byte("not JSON \x00\xff"), Signature: make([]byte, 32), KeyID: "k", ReceivedAt: time.Now()}
	first := mustRecord(t, r, d)
	if first.Status != store.Unrecognized {
		t.Errorf("first: %+v", first)
	}
	if again := mustRecord(t, r, d); again.Status != store.Duplicate || again.EventID != first.EventID || again.Conflict {
		t.Errorf("again: %+v", again)
	}
	wantTally(t, s, tally{Events: 1, Redeliveries: 1})
}

// Roles and databases may have another isolation level as their default.
func TestRecordUnderOtherIsolationDefaults(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"repeatable read", "serializable"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			url := pgtest.New(t)
			config, err := pgxpool.ParseConfig(url)
			if err != nil {
				t.Fatal(err)
			}
			config.ConnConfig.RuntimeParams["default_transaction_isolation"] = level
			pool, err := pgxpool.NewWithConfig(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(pool.Close)
			s := storeOn(t, pool)
			var writers sync.WaitGroup
			for range 4 {
				writers.Go(func() {
					for n := range 50 {
						if _, err := s.RecordBatch(t.Context(), delivery(n, "book")); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			writers.Wait()
			wantTally(t, s, tally{Events: 50, Runs: 50, Jobs: 50, Redeliveries: 150})
		})
	}
}

// One delivery that the database refuses, at whichever table, costs its
// neighbors nothing.
func TestRefusedRow(t *testing.T) {
	t.Parallel()
	poisoned := delivery(13, "book")
	key := fmt.Sprintf("%x", poisoned.Key())
	refuse := func(table, condition string) string {
		return fmt.Sprintf(`
			CREATE FUNCTION lumin.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN IF %s THEN RAISE 'refused'; END IF; RETURN NEW; END $$;
			CREATE TRIGGER refuse BEFORE INSERT ON lumin.%s FOR EACH ROW EXECUTE FUNCTION lumin.refuse()`, condition, table)
	}
	for name, sql := range map[string]string{
		"events by check": `ALTER TABLE lumin.events ADD CHECK (signature_request_id <> 'request-13')`,
		"events":          refuse("events", `NEW.signature_request_id = 'request-13'`),
		"runs":            refuse("runs", `NEW.event_key = '`+key+`'`),
		"river_job":       refuse("river_job", `(NEW.args ->> 'event_key')::uuid = '`+key+`'`),
		"value":           ``, // see below
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			if _, err := s.Pool().Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
			r := newRecorder(t, s)
			release := blockFlushers(t, s, r)
			const deliveries = 64
			errs := make([]error, deliveries)
			var callers sync.WaitGroup
			for n := range deliveries {
				callers.Go(func() {
					d := delivery(n, "book")
					if name == "value" && n == 13 {
						d.Envelope = &lumin.Envelope{SignatureRequestID: "nul\x00", EventType: "t", EventTime: d.ReceivedAt}
					}
					_, errs[n] = r.Record(t.Context(), d)
				})
			}
			eventually(t, "all wait", func() bool { return r.Waiting() == deliveries })
			release()
			callers.Wait()
			for n, err := range errs {
				if n == 13 {
					wantError(t, err, store.ErrUnavailable)
				} else if err != nil {
					t.Errorf("neighbor %d: %v", n, err)
				}
			}
			wantTally(t, s, tally{Events: deliveries - 1 + store.Flushers, Runs: deliveries - 1, Jobs: deliveries - 1})
		})
	}
}

func FuzzPayloadRoundTrip(f *testing.F) {
	for _, seed := range [][]byte{
		nil, {}, {0}, []byte("\x00\x00"), []byte(`{}`), []byte(`{"a":"\u0000"}`), []byte(`{"a":"\ud800"}`), {0xff, 0xfe, 0xc0, 0x80},
		[]byte("\xef\xbb\xbf{}"), []byte(" {} \r\n"), []byte(`\x41`), []byte(`\\000`), []byte("NULL"), []byte("{NULL}"),
		bytes.Repeat([]byte("["), 5000), bytes.Repeat([]byte{0xa5}, 5000), delivery(1).Payload,
	} {
		f.Add(seed)
	}
	s := newStore(f)
	f.Fuzz(func(t *testing.T, payload []byte) {
		ctx := t.Context()
		r := store.NewRecorder(s, silent, nil)
		defer r.Close()
		d := store.Delivery{Source: "account", Payload: payload, Signature: make([]byte, 32), KeyID: "k", ReceivedAt: time.Now(), Jobs: specs("fuzz")}
		if e, err := lumin.DecodeEnvelope(payload); err == nil {
			d.Envelope = &e
		}
		receipt, err := r.Record(ctx, d)
		if err != nil {
			t.Fatal(err)
		}
		stored, err := s.Payload(ctx, receipt.EventID)
		if err != nil {
			t.Fatal(err)
		}
		if receipt.Status != store.Duplicate && !bytes.Equal(stored, payload) {
			t.Errorf("stored %q, got back %q", payload, stored)
		}
		worked, err := s.ReadRun(ctx, attempt(d, "fuzz", 0))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(worked.Payload, stored) || worked.Payload == nil {
			t.Errorf("a job type is given %q instead of %q", worked.Payload, stored)
		}
		// The same bytes as another body of an event that is there.
		other := from("app:other", delivery(1))
		other.Payload = stored
		if _, err := s.RecordBatch(ctx, from("app:other", delivery(1)), other); err != nil {
			t.Fatal(err)
		}
		kept, err := keptBodies(ctx, s)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(payload, delivery(1).Payload) &&
			!slices.ContainsFunc(kept, func(body []byte) bool { return bytes.Equal(body, payload) }) {
			t.Errorf("redelivered body %q is not kept", payload)
		}
		if _, err := s.Pool().Exec(ctx, `TRUNCATE lumin.redeliveries`); err != nil {
			t.Fatal(err)
		}
	})
}

func keptBodies(ctx context.Context, s *store.Store) ([][]byte, error) {
	rows, err := s.Pool().Query(ctx, `SELECT payload FROM lumin.redeliveries WHERE payload IS NOT NULL`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[[]byte])
}
