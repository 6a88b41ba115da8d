package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store"
)

// within is the time limit for a delivery whose event is not locked. It allows
// one lock timeout and the delay of a busy test machine.
const within = 5 * time.Second

// holdLock opens a transaction on another connection. It runs a statement and
// then stays idle until release is called.
func holdLock(tb testing.TB, s *store.Store, sql string, args ...any) (release func()) {
	tb.Helper()
	return pgtest.Hold(tb, s.Pool().Config().ConnString(), sql, args...)
}

// A person locks one event in psql. Its redeliveries keep arriving, several a
// second, and so do other events.
func TestLockedEventBlocksNoOther(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	r := newRecorder(t, s)
	first := mustRecord(t, r, delivery(1, "book"))
	release := holdLock(t, s, `SELECT FROM lumin.events WHERE id = $1 FOR UPDATE`, first.EventID)

	const unrelated, repeats = 100, 40
	var callers sync.WaitGroup
	for n := range unrelated {
		callers.Go(func() {
			time.Sleep(time.Duration(n) * 40 * time.Millisecond) // the rate of the traffic, not a wait for a condition
			ctx, cancel := context.WithTimeout(t.Context(), within)
			defer cancel()
			if _, err := r.Record(ctx, delivery(100+n, "book")); err != nil {
				t.Errorf("delivery %d: %v", n, err)
			}
		})
	}
	for n := range repeats {
		callers.Go(func() {
			time.Sleep(time.Duration(n) * 100 * time.Millisecond)
			ctx, cancel := context.WithTimeout(t.Context(), 2*within)
			defer cancel()
			_, err := r.Record(ctx, variant(1, fmt.Sprintf("https://example.com/?token=%d", n%4+2), "title", "book"))
			wantError(t, err, store.ErrUnavailable)
		})
	}
	callers.Wait()
	release()
	if got := mustRecord(t, r, variant(1, "https://example.com/?token=9", "title", "book")); got.Status != store.Duplicate {
		t.Errorf("after the lock: %+v", got)
	}
	wantTally(t, s, tally{Events: 1 + unrelated, Runs: 1 + unrelated, Jobs: 1 + unrelated, Redeliveries: 1})
}

// Deliveries in the same transaction as a blocked one are recorded.
func TestNeighborsOfBlockedDeliveries(t *testing.T) {
	t.Parallel()
	const neighbors = 200
	for name, test := range map[string]struct {
		known   int    // events 0 to known-1 are stored, each with one redelivery
		lock    string // held by another transaction
		blocked int    // number of refused deliveries
	}{
		"ten events": {20, `SELECT FROM lumin.events WHERE signature_request_id < 'request-2' AND signature_request_id LIKE 'request-%' FOR UPDATE`, 12},
		"updated":    {20, `UPDATE lumin.events SET key_id = 'x' WHERE signature_request_id = 'request-1'`, 1},
		"counts":     {20, `SELECT FROM lumin.redeliveries d JOIN lumin.events e ON e.id = d.event_id WHERE e.signature_request_id = 'request-1' FOR UPDATE OF d`, 1},
		"not committed": {0, `INSERT INTO lumin.events (event_key, source, payload, payload_sha256, signature, key_id, received_at)
			VALUES ('` + keyText(delivery(0)) + `', 'account', '', '', '', '', now())`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			r := newRecorder(t, s)
			again := func(n int) store.Delivery { return variant(n, "https://example.com/?token=2", "title", "book") }
			for n := range test.known {
				mustRecord(t, r, delivery(n, "book"))
				mustRecord(t, r, again(n))
			}
			holdLock(t, s, test.lock)
			known := max(test.known, 1)
			var batch []store.Delivery
			for n := range known {
				batch = append(batch, again(n))
			}
			for n := range neighbors {
				batch = append(batch, delivery(1000+n, "book"))
			}
			start := time.Now()
			refused := 0
			for n, err := range r.RecordTogether(batch...) {
				switch {
				case err != nil && n < known:
					refused++
				case err != nil:
					t.Errorf("neighbor %d: %v", n, err)
				}
			}
			if refused != test.blocked {
				t.Errorf("%d are refused, want %d", refused, test.blocked)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("answered after %s", took)
			}
		})
	}
}

func keyText(d store.Delivery) string { return d.Envelope.Key().String() }

// A constraint that is checked at COMMIT refuses one row. The other deliveries
// are recorded.
func TestDeferredConstraint(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	r := newRecorder(t, s)
	exec(t, s.Pool(), `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN RAISE EXCEPTION 'not this one' USING ERRCODE = '23514'; END $$`)
	exec(t, s.Pool(), `CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON lumin.events DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW WHEN (NEW.signature_request_id = 'request-7') EXECUTE FUNCTION refuse()`)
	var batch []store.Delivery
	for n := range 20 {
		batch = append(batch, delivery(n, "book"))
	}
	for n, err := range r.RecordTogether(batch...) {
		switch {
		case n == 7:
			wantError(t, err, store.ErrUnavailable)
		case err != nil:
			t.Errorf("neighbor %d: %v", n, err)
		}
	}
	if got := count(t, s); got.Runs != 19 || got.Jobs != 19 {
		t.Errorf("the database holds %+v", got)
	}
}

// Another transaction locks two events in the opposite order, so a batch
// becomes the victim of a deadlock. The batch has changed nothing, so it is
// written again.
func TestDeadlockVictim(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := storeOn(t, pgtest.Pool(t, url))
	r := store.NewRecorderForDeadlocks(s, silent)
	t.Cleanup(r.Close)
	one, two := mustRecord(t, r, delivery(1)), mustRecord(t, r, delivery(2))

	other := pgtest.Conn(t, pgtest.AdminURL(t, url))
	exec(t, other, `SET deadlock_timeout = '1min'`) // so that the batch is the victim
	exec(t, other, `BEGIN`)
	exec(t, other, `SELECT FROM lumin.events WHERE id = $1 FOR UPDATE`, two.EventID)

	answers := make(chan []error, 1)
	go func() {
		answers <- r.RecordTogether(
			variant(1, "https://example.com/?token=2", "title"), variant(2, "https://example.com/?token=2", "title"))
	}()
	eventually(t, "the batch waits for the second event", func() bool {
		return value[int](t, other, `SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'`) == 1
	})
	exec(t, other, `SELECT FROM lumin.events WHERE id = $1 FOR UPDATE`, one.EventID)
	exec(t, other, `COMMIT`)
	if err := errors.Join(<-answers...); err != nil {
		t.Error(err)
	}
	wantTally(t, s, tally{Events: 2, Redeliveries: 2})
	if n := value[int](t, s.Pool(), `SELECT count(DISTINCT xmin::text) FROM lumin.redeliveries`); n != 1 {
		t.Errorf("the batch was written in %d parts, not again as a whole", n)
	}
}
