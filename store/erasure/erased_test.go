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
