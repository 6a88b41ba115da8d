package store_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/measure"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/store/internal/storetest"
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

// Several programs record the same events at once, in opposite orders. Events
// repeat within a batch and across batches. Each source has other job types, so
// the runs of one event come from several deliveries. LUMIN_TEST_WRITERS is the
// number of deliveries of each writer.
func TestWritersInOppositeOrder(t *testing.T) {
	t.Parallel()
	s := storeOn(t, pgtest.PoolOf(t, pgtest.New(t), 16))
	const writers, batch = 16, 50
	kindsOf := map[string][]string{
		"account": {"zebra", "common"}, "app:a": {"ant"}, "app:b": {"zebra"}, "app:c": {"ant", "common"},
	}
	events := max(1, measure.Size(t, "LUMIN_TEST_WRITERS", 800)/len(kindsOf))
	seed := measure.Rand(t).Uint64()
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
			random := rand.New(rand.NewPCG(seed, uint64(w)))
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
	measure.Log(t, "events", float64(want.Events), "")
	measure.Log(t, "attempts", float64(sent.Load()), "")
	measure.Log(t, "transactions in opposite orders", float64(writers*((len(all)+batch-1)/batch)), "")
}

// Transactions that record other sources of the same events wait for each
// other's runs. They must lock these runs in the same order, whatever the job
// types of each source.
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
			// Each run belongs to the event that created it.
			for kind, event := range map[string]int64{"both": receipts[0].EventID, "account_only": receipts[0].EventID, "app_only": receipts[1].EventID} {
				if got := value[int64](t, s.Pool(), `SELECT event_id FROM lumin.runs WHERE job_kind = $1`, kind); got != event {
					t.Errorf("run of %s is of event %d, want %d", kind, got, event)
				}
			}
		})
	}
}

// A worker working on an event does not block the same event from another
// source, nor other deliveries in the batch.
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

// One delivery that the database refuses, at any table, does not affect the
// other deliveries of its batch.
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

// The recording statement keeps one generic plan for each connection, and its
// settings end with its transaction.
func TestRecordingPlansOnce(t *testing.T) {
	t.Parallel()
	s := storeOn(t, pgtest.PoolOf(t, pgtest.New(t), 1))
	const batches = 10
	for n := range batches {
		recordAll(t, s, delivery(n, "book"))
	}
	if plans := value[string](t, s.Pool(), `
		SELECT generic_plans || ' generic, ' || custom_plans || ' custom' FROM pg_prepared_statements
		WHERE statement LIKE '%INSERT INTO lumin.' || 'events%'`); plans != "10 generic, 0 custom" {
		t.Errorf("%d batches used %s plans", batches, plans)
	}
	if settings := value[string](t, s.Pool(), `SELECT current_setting('plan_cache_mode') || ' ' || current_setting('lock_timeout') || ' ' || current_setting('statement_timeout')`); settings != "auto 0 0" {
		t.Errorf("after recording the session has %s", settings)
	}
}

// Recording sets its timeouts in each transaction, so it does not depend on those
// of the session. Behind a pooler that may be any session.
func TestRecordingSetsItsTimeouts(t *testing.T) {
	t.Parallel()
	databaseURL := pgtest.New(t)
	exec(t, pgtest.Conn(t, pgtest.AdminURL(t, databaseURL)), `CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.3); RETURN NEW; END $$;
		CREATE TRIGGER slow BEFORE INSERT ON lumin.events FOR EACH ROW EXECUTE FUNCTION slow();
		CREATE TRIGGER slow BEFORE INSERT ON lumin.redeliveries FOR EACH ROW EXECUTE FUNCTION slow()`)
	s := storeOn(t, pgtest.Pool(t, storetest.WithSetting(t, databaseURL, "statement_timeout", "100")))
	r := newRecorder(t, s)
	mustRecord(t, r, delivery(1, "book"))
	mustRecord(t, r, delivery(1, "book")) // a redelivery has a transaction of its own
	wantTally(t, s, tally{Events: 1, Runs: 1, Jobs: 1, Redeliveries: 1})
}
