package conflict_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/store/audit"
	"lumin-ingest/store/conflict"
	"lumin-ingest/store/erasure"
	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/replay"
)

func onlyConflict(tb testing.TB, s *store.Store, eventID int64) conflict.Row {
	tb.Helper()
	conflicts, err := conflict.List(tb.Context(), s.Pool(), conflict.Filter{EventID: eventID, Limit: 10})
	if err != nil || len(conflicts) != 1 {
		tb.Fatalf("%d conflicts, %v", len(conflicts), err)
	}
	return conflicts[0]
}

func TestAnotherActor(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		first, other string
		another      bool
	}{
		"two people":              {"ann@example.com", "bob@example.com", true},
		"two domains":             {"ann@example.com", "ann@example.org", true},
		"not an address":          {"ann", "bob", true},
		"case and space":          {"Ann@Example.com", " ann@example.COM\t", false},
		"two forms of a domain":   {"ann@bücher.example", "ann@xn--bcher-kva.example", false},
		"composed and decomposed": {"jos\u00e9@example.com", "jose\u0301@example.com", false},
		"first names no one":      {"", "bob@example.com", false},
		"other names no one":      {"ann@example.com", " ", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := storetest.New(t)
			first := storetest.Record(t, s, storetest.SignedBy(1, test.first, "1"))[0]
			other := storetest.SignedBy(1, test.other, "1")
			other.Payload = []byte(strings.Replace(string(other.Payload), `"title":"title"`, `"title":"other"`, 1))
			got := storetest.Record(t, s, other)[0]
			if want := (store.Receipt{EventID: first.EventID, Status: store.Duplicate, Conflict: true, AnotherActor: test.another}); got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
			if c := onlyConflict(t, s, first.EventID); c.AnotherActor != test.another || c.Decision != nil {
				t.Errorf("%+v", c)
			}
			if n, err := conflict.CountUndecided(t.Context(), s.Pool()); err != nil || n.All != 1 || (n.TwoSigners == 1) != test.another {
				t.Errorf("%+v undecided, %v", n, err)
			}
		})
	}
}

// promoteAtOnce promotes a conflict ten times at once, and checks that all
// calls return the same event.
func promoteAtOnce(t *testing.T, s *store.Store, c conflict.Row) {
	t.Helper()
	var (
		callers sync.WaitGroup
		mu      sync.Mutex
		ids     = map[int64]int{}
	)
	for range 10 {
		callers.Go(func() {
			id, err := conflict.Promote(t.Context(), s.Pool(), c, "two signers", "me")
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			ids[id]++
		})
	}
	callers.Wait()
	if len(ids) != 1 {
		t.Fatalf("events %v", ids)
	}
}

// If several callers promote a conflict at once, it becomes one event with one
// run of each job type, and is no longer undecided.
func TestPromoteConflict(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Register(t, s, "book")
	ann, bob := storetest.WithSecret(t, storetest.SignedBy(1, "ann@example.com", "1", "book"), storetest.Secret), storetest.WithSecret(t, storetest.SignedBy(1, "bob@example.com", "1", "book"), storetest.Secret)
	first := storetest.Record(t, s, ann)[0]
	storetest.Record(t, s, bob)
	c := onlyConflict(t, s, first.EventID)

	promoteAtOnce(t, s, c)
	promoted := storetest.Value[int64](t, s.Pool(), `SELECT id FROM lumin.events WHERE promoted_from = $1`, first.EventID)
	if got, want := storetest.Value[[16]byte](t, s.Pool(), `SELECT event_key FROM lumin.events WHERE id = $1`, promoted),
		ann.Envelope.Key().Derive("actor/bob@example.com"); got != want {
		t.Errorf("key %x, want %x", got, want)
	}
	if got := onlyConflict(t, s, first.EventID); *got.Decision != "promoted" || *got.PromotedID != promoted || *got.DecidedBy != "me" || *got.Reason != "two signers" {
		t.Errorf("%+v", got)
	}
	orders := storetest.Value[[]int64](t, s.Pool(), `SELECT array_agg(id) FROM lumin.replays`)
	if len(orders) != 1 {
		t.Fatalf("orders %v", orders)
	}
	order, err := replay.New(s).Start(t.Context(), orders[0])
	if err != nil {
		t.Fatal(err)
	}
	if n := storetest.CarryOut(t, s, order, storetest.ReplayJobs("book"), 2); n != 1 {
		t.Errorf("%d runs, want 1", n)
	}

	// Later deliveries of either body are redeliveries of its event.
	for _, again := range []struct {
		d  store.Delivery
		id int64
	}{
		{ann, first.EventID}, {storetest.SignedBy(1, "ann@example.com", "2", "book"), first.EventID},
		{bob, promoted}, {storetest.SignedBy(1, "bob@example.com", "2", "book"), promoted},
	} {
		if got, want := storetest.Record(t, s, again.d)[0], (store.Receipt{EventID: again.id, Status: store.Duplicate}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	// A body with a third signer is still a conflict.
	if got := storetest.Record(t, s, storetest.SignedBy(1, "eve@example.com", "1"))[0]; !got.AnotherActor {
		t.Errorf("%+v", got)
	}
	if checked, found := auditAll(t, s, storetest.Secret); len(found) > 0 || checked != 2 {
		t.Errorf("audit of %d events: %q", checked, found)
	}
	storetest.Exec(t, s.Pool(), `UPDATE lumin.events SET promoted_from = NULL WHERE id = $1`, promoted)
	if _, found := auditAll(t, s, storetest.Secret); len(found) != 1 || found[0] != "payload and event_key" {
		t.Errorf("audit of a made-up key: %q", found)
	}
}

// auditAll audits all events with one secret of the account.
func auditAll(tb testing.TB, s *store.Store, secret string) (checked int64, found []string) {
	tb.Helper()
	keyring, err := lumin.NewKeyring(secret)
	if err != nil {
		tb.Fatal(err)
	}
	result, err := audit.Run(tb.Context(), s.Pool(), audit.Range{}, map[string]*lumin.Keyring{"account": keyring}, func(f audit.Finding) error {
		found = append(found, f.What)
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return result.Checked, found
}

// refused checks for a refusal that contains a word.
func refused(tb testing.TB, err error, word string) {
	tb.Helper()
	var r *conflict.RefusedError
	if !errors.As(err, &r) || !strings.Contains(r.Reason, word) || r.Hint == "" {
		tb.Errorf("error %v, want a refusal with %q", err, word)
	}
}

// The two webhooks may report the same two events in different order. An event
// that was worked for one source is not promoted from the other.
func TestPromoteInOtherSource(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Record(t, s, storetest.SignedBy(1, "ann@example.com", "1", "book"))
	storetest.Record(t, s, storetest.SignedBy(1, "bob@example.com", "1", "book"))
	first := storetest.Record(t, s, storetest.From("app:crm", storetest.SignedBy(1, "bob@example.com", "1", "book")))[0]
	storetest.Record(t, s, storetest.From("app:crm", storetest.SignedBy(1, "ann@example.com", "1", "book")))
	c := onlyConflict(t, s, first.EventID)
	_, err := conflict.Promote(t.Context(), s.Pool(), c, "two signers", "me")
	refused(t, err, "already has the runs of this signer")
	if err := conflict.Dismiss(t.Context(), s.Pool(), c, "the account's is promoted", "me"); err != nil {
		t.Error(err)
	}
	if n, err := conflict.CountUndecided(t.Context(), s.Pool()); n != (conflict.Undecided{All: 1, TwoSigners: 1}) || err != nil {
		t.Errorf("%+v undecided, %v", n, err)
	}
}

func TestPromoteRefused(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	first := storetest.Record(t, s, storetest.SignedBy(1, "ann@example.com", "1"))[0]
	storetest.Record(t, s, storetest.SignedBy(1, "bob@example.com", "1"))
	c := onlyConflict(t, s, first.EventID)
	promote := func() error {
		_, err := conflict.Promote(t.Context(), s.Pool(), c, "two signers", "me")
		return err
	}
	_, err := conflict.Promote(t.Context(), s.Pool(), conflict.Row{EventID: first.EventID + 1000, Body: "00"}, "two signers", "me")
	refused(t, err, "has no such conflict")
	_, err = conflict.Promote(t.Context(), s.Pool(), c, " ", "me")
	refused(t, err, "no reason")

	// The row is as a program of the version before recorded it. Lumin's next
	// attempt adds the missing values.
	storetest.Exec(t, s.Pool(), `UPDATE lumin.redeliveries SET signature = NULL, key_id = NULL, promoted_key = NULL, another_actor = false`)
	refused(t, promote(), "without its signature")
	storetest.Record(t, s, storetest.SignedBy(1, "bob@example.com", "1"))
	if c = onlyConflict(t, s, first.EventID); !c.AnotherActor || c.Count != 2 {
		t.Errorf("%+v", c)
	}
	storetest.Exec(t, s.Pool(), `UPDATE lumin.redeliveries SET payload = NULL`)
	refused(t, promote(), "is not kept")
}

// An erasure removes the promoted body too, and the key that was derived from
// an address for a promotion that did not happen.
func TestErasePromoted(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	first := storetest.Record(t, s, storetest.SignedBy(1, "ann@example.com", "1"))[0]
	storetest.Record(t, s, storetest.SignedBy(1, "bob@example.com", "1"))
	if _, err := conflict.Promote(t.Context(), s.Pool(), onlyConflict(t, s, first.EventID), "two signers", "me"); err != nil {
		t.Fatal(err)
	}
	plan, err := erasure.NewPlan(t.Context(), s.Pool(), erasure.Subject{Email: "bob@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	id, err := plan.Order(t.Context(), s.Pool(), "test", "tester")
	if err != nil {
		t.Fatal(err)
	}
	if order, err := erasure.CarryOut(t.Context(), s.Pool(), id); err != nil || order.FinishedAt == nil {
		t.Fatalf("not finished: %+v, %v", order, err)
	}
	if n := storetest.Value[int](t, s.Pool(), `SELECT (SELECT count(*) FROM lumin.events WHERE payload IS NOT NULL)
		+ (SELECT count(*) FROM lumin.redeliveries WHERE payload IS NOT NULL OR promoted_key IS NOT NULL)`); n != 0 {
		t.Errorf("%d bodies or keys remain", n)
	}
	// Neither body is stored again.
	storetest.Record(t, s, storetest.SignedBy(1, "bob@example.com", "2"))
	if n := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.redeliveries WHERE payload IS NOT NULL`); n != 0 {
		t.Errorf("%d bodies were stored again", n)
	}
}
