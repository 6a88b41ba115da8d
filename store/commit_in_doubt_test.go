package store_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"lumin-ingest/internal/pgproxy"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store"
)

// If the result of COMMIT is unknown, the sender gets an error.
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
				t.Errorf("%d commits cut, %d callers with an error", proxy.Struck(), failed.Load())
			}
			got := count(t, s)
			got.Redeliveries = 0 // a commit in doubt may have counted them
			if want := (tally{Events: 1, Runs: 1, Jobs: 1}); got != want {
				t.Errorf("the database holds %+v, want %+v", got, want)
			}
		})
	}
}
