package store_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

func newStore(tb testing.TB) *store.Store {
	tb.Helper()
	s, err := store.New(pgtest.Pool(tb, pgtest.New(tb)), slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func newRecorder(tb testing.TB, s *store.Store) *store.Recorder {
	tb.Helper()
	r := store.NewRecorder(s, slog.New(slog.DiscardHandler), nil)
	tb.Cleanup(r.Close)
	return r
}

// delivery is a delivery of one signature request; the same number, the same event.
func delivery(n int, jobs ...string) store.Delivery {
	at := time.UnixMilli(1694664207595 + int64(n)).UTC()
	id := fmt.Sprintf("request-%d", n)
	d := store.Delivery{
		Source:   "account",
		Envelope: &lumin.Envelope{SignatureRequestID: id, EventType: lumin.SignatureRequestSigned, EventTime: at},
		Payload: fmt.Appendf(nil, `{"event":{"event_time":%d,"event_type":"signature_request_signed"},"signature_request":{"signature_request_id":%q}}`,
			at.UnixMilli(), id),
		Signature:  make([]byte, 32),
		KeyID:      "0011223344556677",
		ReceivedAt: at,
	}
	for _, kind := range jobs {
		d.Jobs = append(d.Jobs, store.JobSpec{Kind: kind, Queue: "default", MaxAttempts: 3, Priority: 1})
	}
	return d
}

func TestRecordOnce(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	r := newRecorder(t, s)
	ctx := context.Background()

	first, err := r.Record(ctx, delivery(1, "book", "mail"))
	if err != nil {
		t.Fatal(err)
	}
	if first.Status != store.Recorded {
		t.Errorf("first delivery: %+v", first)
	}
	second, err := r.Record(ctx, delivery(1, "book", "mail"))
	if err != nil {
		t.Fatal(err)
	}
	if second.Status != store.Duplicate || second.EventID != first.EventID {
		t.Errorf("second delivery: %+v after %+v", second, first)
	}
	var events, runs, jobs, repeated int
	err = s.Pool().QueryRow(ctx, `
		SELECT (SELECT count(*) FROM lumin.events), (SELECT count(*) FROM lumin.runs),
		       (SELECT count(*) FROM lumin.river_job), (SELECT sum(count) FROM lumin.redeliveries)`).Scan(&events, &runs, &jobs, &repeated)
	if err != nil {
		t.Fatal(err)
	}
	if events != 1 || runs != 2 || jobs != 2 || repeated != 1 {
		t.Errorf("%d events, %d runs, %d jobs, %d redeliveries; want 1, 2, 2, 1", events, runs, jobs, repeated)
	}
}
