package store_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"lumin-ingest/store"
	"lumin-ingest/store/erasure"
	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/replay"
)

// by is a delivery of event n in which somebody acted.
func by(n int, actor, token string, jobs ...string) store.Delivery {
	d := delivery(n, jobs...)
	d.Payload = fmt.Appendf(nil, `{"event":{"event_time":%d,"event_type":"signature_request_signed","event_metadata":{"signer_email":%q}},`+
		`"signature_request":{"signature_request_id":"request-%d","title":"title","details_url":"https://example.com/?token=%s"}}`,
		d.Envelope.EventTime.UnixMilli(), actor, n, token)
	return d
}

func onlyConflict(tb testing.TB, s *store.Store, eventID int64) store.Conflict {
	tb.Helper()
	conflicts, err := s.Conflicts(tb.Context(), store.ConflictFilter{EventID: eventID, Limit: 10})
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
			s := newStore(t)
			r := newRecorder(t, s)
			first := mustRecord(t, r, by(1, test.first, "1"))
			other := by(1, test.other, "1")
			other.Payload = []byte(strings.Replace(string(other.Payload), `"title":"title"`, `"title":"other"`, 1))
			got := mustRecord(t, r, other)
			if want := (store.Receipt{EventID: first.EventID, Status: store.Duplicate, Conflict: true, AnotherActor: test.another}); got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
			if c := onlyConflict(t, s, first.EventID); c.AnotherActor != test.another || c.Decision != nil {
				t.Errorf("%+v", c)
			}
			if n, err := s.UndecidedActors(t.Context()); err != nil || (n == 1) != test.another {
				t.Errorf("%d undecided, %v", n, err)
			}
		})
	}
}

// However many promote a conflict at once, it becomes one event with one run of
// each job type, and is a conflict no more.
func TestPromoteConflict(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	r := newRecorder(t, s)
	registerTypes(t, s, "book")
	ann, bob := signed(t, by(1, "ann@example.com", "1", "book"), "secret"), signed(t, by(1, "bob@example.com", "1", "book"), "secret")
	first := mustRecord(t, r, ann)
	mustRecord(t, r, bob)
	c := onlyConflict(t, s, first.EventID)

	var (
		callers sync.WaitGroup
		mu      sync.Mutex
		ids     = map[int64]int{}
	)
	for range 10 {
		callers.Go(func() {
			id, err := s.PromoteConflict(t.Context(), c, "two signers", "me")
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
	promoted := value[int64](t, s.Pool(), `SELECT id FROM lumin.events WHERE promoted_from = $1`, first.EventID)
	if got, want := value[[16]byte](t, s.Pool(), `SELECT event_key FROM lumin.events WHERE id = $1`, promoted),
		ann.Envelope.Key().Derive("actor/bob@example.com"); got != want {
		t.Errorf("key %x, want %x", got, want)
	}
	if got := onlyConflict(t, s, first.EventID); *got.Decision != "promoted" || *got.PromotedID != promoted || *got.DecidedBy != "me" || *got.Reason != "two signers" {
		t.Errorf("%+v", got)
	}
	orders := value[[]int64](t, s.Pool(), `SELECT array_agg(id) FROM lumin.replays`)
	if len(orders) != 1 {
		t.Fatalf("orders %v", orders)
	}
	order, err := replay.New(s).Start(t.Context(), orders[0])
	if err != nil {
		t.Fatal(err)
	}
	if n := allPages(t, s, order, storetest.ReplayJobs("book")); n != 1 {
		t.Errorf("%d runs, want 1", n)
	}

	// Deliveries of either body that come later are redeliveries of either event.
	for _, again := range []struct {
		d  store.Delivery
		id int64
	}{
		{ann, first.EventID}, {by(1, "ann@example.com", "2", "book"), first.EventID},
		{bob, promoted}, {by(1, "bob@example.com", "2", "book"), promoted},
	} {
		if got, want := mustRecord(t, r, again.d), (store.Receipt{EventID: again.id, Status: store.Duplicate}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	// A third signer is a conflict still.
	if got := mustRecord(t, r, by(1, "eve@example.com", "1")); !got.AnotherActor {
		t.Errorf("%+v", got)
	}
	if audit, found := auditAll(t, s, "secret"); len(found) > 0 || audit.Checked != 2 {
		t.Errorf("audit: %+v, %q", audit, found)
	}
	exec(t, s.Pool(), `UPDATE lumin.events SET promoted_from = NULL WHERE id = $1`, promoted)
	if _, found := auditAll(t, s, "secret"); len(found) != 1 || found[0] != "payload and event_key" {
		t.Errorf("audit of a made-up key: %q", found)
	}
}

// registerTypes has job types in lumin.job_types.
func registerTypes(tb testing.TB, s *store.Store, kinds ...string) {
	tb.Helper()
	var types []store.JobType
	for _, kind := range kinds {
		types = append(types, store.JobType{Kind: kind, Queue: "default", Transactional: true})
	}
	if _, err := s.RegisterJobTypes(tb.Context(), types); err != nil {
		tb.Fatal(err)
	}
}

// refused wants a refusal that says a word.
func refused(tb testing.TB, err error, word string) {
	tb.Helper()
	var r *store.RefusedError
	if !errors.As(err, &r) || !strings.Contains(r.Reason, word) || r.Hint == "" {
		tb.Errorf("error %v, want a refusal with %q", err, word)
	}
}

// The two webhooks may bring the same two events in different order. What has been
// worked for one source is not promoted from the other.
func TestPromoteInOtherSource(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	r := newRecorder(t, s)
	mustRecord(t, r, by(1, "ann@example.com", "1", "book"))
	mustRecord(t, r, by(1, "bob@example.com", "1", "book"))
	first := mustRecord(t, r, from("app:crm", by(1, "bob@example.com", "1", "book")))
	mustRecord(t, r, from("app:crm", by(1, "ann@example.com", "1", "book")))
	c := onlyConflict(t, s, first.EventID)
	_, err := s.PromoteConflict(t.Context(), c, "two signers", "me")
	refused(t, err, "already has the runs of this signer")
	if err := s.DismissConflict(t.Context(), c, "the account's is promoted", "me"); err != nil {
		t.Error(err)
	}
	if n, err := s.UndecidedActors(t.Context()); n != 1 || err != nil {
		t.Errorf("%d undecided, %v", n, err)
	}
}

func TestPromoteRefused(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	r := newRecorder(t, s)
	first := mustRecord(t, r, by(1, "ann@example.com", "1"))
	mustRecord(t, r, by(1, "bob@example.com", "1"))
	c := onlyConflict(t, s, first.EventID)
	promote := func() error {
		_, err := s.PromoteConflict(t.Context(), c, "two signers", "me")
		return err
	}
	_, err := s.PromoteConflict(t.Context(), store.Conflict{EventID: first.EventID + 1000, Body: "00"}, "two signers", "me")
	refused(t, err, "has no such conflict")
	_, err = s.PromoteConflict(t.Context(), c, " ", "me")
	refused(t, err, "no reason")

	// As a program of the version before has recorded it; Lumin's next attempt adds
	// what is missing.
	exec(t, s.Pool(), `UPDATE lumin.redeliveries SET signature = NULL, key_id = NULL, promoted_key = NULL, another_actor = false`)
	refused(t, promote(), "without its signature")
	mustRecord(t, r, by(1, "bob@example.com", "1"))
	if c = onlyConflict(t, s, first.EventID); !c.AnotherActor || c.Count != 2 {
		t.Errorf("%+v", c)
	}
	exec(t, s.Pool(), `UPDATE lumin.redeliveries SET payload = NULL`)
	refused(t, promote(), "is not kept")
}

// An erasure takes the promoted body along, and the key that was made of an address
// for a promotion that did not happen.
func TestErasePromoted(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	r := newRecorder(t, s)
	first := mustRecord(t, r, by(1, "ann@example.com", "1"))
	mustRecord(t, r, by(1, "bob@example.com", "1"))
	if _, err := s.PromoteConflict(t.Context(), onlyConflict(t, s, first.EventID), "two signers", "me"); err != nil {
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
	if n := value[int](t, s.Pool(), `SELECT (SELECT count(*) FROM lumin.events WHERE payload IS NOT NULL)
		+ (SELECT count(*) FROM lumin.redeliveries WHERE payload IS NOT NULL OR promoted_key IS NOT NULL)`); n != 0 {
		t.Errorf("%d bodies or keys are left", n)
	}
	// Neither body comes back.
	mustRecord(t, r, by(1, "bob@example.com", "2"))
	if n := value[int](t, s.Pool(), `SELECT count(*) FROM lumin.redeliveries WHERE payload IS NOT NULL`); n != 0 {
		t.Errorf("%d bodies have come back", n)
	}
}
