package store_test

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

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
			t.Errorf("recorded %q, stored %q", payload, stored)
		}
		worked, err := s.ReadRun(ctx, attempt(d, "fuzz", 0))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(worked.Payload, stored) || worked.Payload == nil {
			t.Errorf("a job type is given %q instead of %q", worked.Payload, stored)
		}
		// The same bytes as another body of a stored event.
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
