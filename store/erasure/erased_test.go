package erasure_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"lumin-ingest/internal/wait"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/store/erasure"
	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/replay"
)

func TestErased(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Record(t, s, storetest.Delivery(1), storetest.Delivery(2), storetest.Delivery(3))
	eraseBy(t, s, erasure.Subject{SignatureRequestIDs: []string{"request-1", "request-2"}})
	got, err := erasure.Erased(t.Context(), s.Pool(), []string{"request-2", "request-3", "request-4"})
	if err != nil || !slices.Equal(got, []string{"request-2"}) {
		t.Errorf("%v, %v", got, err)
	}
}

// A transaction that recovers an event may begin before the order and end after
// it. Its event is erased all the same.
func TestEraseRecovered(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Register(t, s, "book")
	storetest.Record(t, s, storetest.Delivery(1, "book"))
	plan, err := erasure.NewPlan(t.Context(), s.Pool(), erasure.Subject{SignatureRequestIDs: []string{"request-1"}})
	if err != nil {
		t.Fatal(err)
	}
	tx, err := s.Pool().Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := store.Recovery{RecoveredAt: time.Now(), Payload: fmt.Appendf(nil,
		`{"event":{"event_time":1694664209999,"event_type":%q},"signature_request":{"signature_request_id":"request-1"}}`, lumin.SignatureRequestDeclined)}
	if _, err := s.RecoverTx(t.Context(), tx, r); err != nil {
		t.Fatal(err)
	}
	if erased, err := erasure.Erased(t.Context(), tx, []string{"request-1"}); err != nil || len(erased) > 0 {
		t.Fatalf("%v, %v", erased, err)
	}
	carried := make(chan erasure.Order)
	go func() { carried <- eraseAs(t, s, plan) }()
	ordered := func() bool {
		return storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.events WHERE payload IS NULL`) == 1
	}
	wait.Until(t, "the first pass", ordered)
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-carried
	if n := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.events WHERE payload IS NOT NULL`); n != 0 {
		t.Errorf("%d bodies are left", n)
	}
	if n := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.runs WHERE state <> 'cancelled'`); n != 0 {
		t.Errorf("%d runs are not cancelled", n)
	}
}

// signedBy is a signed delivery of an event, which may be in conflict with another
// signer's.
func signedBy(tb testing.TB, signer string) store.Delivery {
	tb.Helper()
	return storetest.WithSecret(tb, storetest.SignedBy(1, signer, "1", "book"), storetest.Secret)
}

// promote makes the conflict of an event an event of its own, whose run is pending.
func promote(tb testing.TB, s *store.Store, eventID int64) (promoted int64) {
	tb.Helper()
	promoted = storetest.Value[int64](tb, s.Pool(), `SELECT lumin.promote_conflict($1, 'two signers')`, eventID)
	order, err := replay.New(s).Start(tb.Context(), storetest.Value[int64](tb, s.Pool(), `SELECT max(id) FROM lumin.replays`))
	if err != nil {
		tb.Fatal(err)
	}
	if n := storetest.CarryOut(tb, s, order, storetest.ReplayJobs("book"), 100); n != 1 {
		tb.Fatalf("%d runs of the promoted event", n)
	}
	return promoted
}

// wantNothingLeft checks that no body, no job and no run that could be worked is left.
func wantNothingLeft(tb testing.TB, s *store.Store) {
	tb.Helper()
	if got := storetest.Value[string](tb, s.Pool(), `
		SELECT concat_ws(', ', (SELECT count(payload) FROM lumin.events), (SELECT count(payload) FROM lumin.redeliveries),
		       (SELECT count(*) FROM lumin.runs WHERE state <> 'cancelled'), (SELECT count(*) FROM lumin.river_job WHERE kind = 'book'))`); got != "0, 0, 0, 0" {
		tb.Errorf("bodies, bodies of redeliveries, runs and jobs that are left: %s", got)
	}
}

// A conflict whose body the plan has counted may be promoted before the erasure comes
// to it, and so may one of a later copy, which is erased too.
func TestErasePromoted(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Register(t, s, "book")
	first := storetest.Record(t, s, signedBy(t, "ann@example.com"))[0]
	storetest.Record(t, s, signedBy(t, "bob@example.com"))
	plan, err := erasure.NewPlan(t.Context(), s.Pool(), erasure.Subject{SignatureRequestIDs: []string{"request-1"}})
	if err != nil || plan.Redeliveries != 1 {
		t.Fatalf("%+v, %v", plan, err)
	}
	promote(t, s, first.EventID)
	copied := storetest.Record(t, s, storetest.From("app:crm", signedBy(t, "ann@example.com")))[0]
	storetest.Record(t, s, storetest.From("app:crm", signedBy(t, "eve@example.com")))
	if late := promote(t, s, copied.EventID); late <= plan.LastEventID || copied.EventID <= plan.LastEventID {
		t.Fatalf("event %d was promoted", late)
	}
	if got := eraseAs(t, s, plan); got.Bodies != 4 {
		t.Errorf("%+v", got)
	}
	wantNothingLeft(t, s)
}

// The same for an unrecognized event that has been decoded.
func TestErasePromotedFromDecoded(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Register(t, s, "book")
	odd := signedBy(t, "ann@example.com")
	odd.Envelope, odd.Jobs = nil, nil // recorded by a version that could not decode it
	storetest.Record(t, s, odd)
	plan, err := erasure.NewPlan(t.Context(), s.Pool(), erasure.Subject{Email: "ann@example.com"})
	if err != nil || len(plan.EventIDs) != 1 {
		t.Fatalf("%+v, %v", plan, err)
	}
	jobs := replay.Jobs{Route: func(string, lumin.EventType) []store.JobSpec { return storetest.Specs("book") }}
	if n := storetest.CarryOut(t, s, storetest.Order(t, s, replay.Filter{Status: replay.Unrecognized}), jobs, 2); n != 1 {
		t.Fatalf("%d runs", n)
	}
	storetest.Record(t, s, signedBy(t, "bob@example.com"))
	promote(t, s, storetest.Value[int64](t, s.Pool(), `SELECT id FROM lumin.events WHERE decoded_from IS NOT NULL`))
	eraseAs(t, s, plan)
	wantNothingLeft(t, s)
}
