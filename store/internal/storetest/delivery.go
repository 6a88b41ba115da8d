package storetest

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// New returns a Store on a new database.
func New(tb testing.TB) *store.Store {
	tb.Helper()
	return On(tb, pgtest.Pool(tb, pgtest.New(tb)))
}

// On returns a Store on a pool.
func On(tb testing.TB, pool *pgxpool.Pool) *store.Store {
	tb.Helper()
	s, err := store.New(pool, slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// Delivery returns a delivery of the signature request with this number. The
// same number is the same event.
func Delivery(n int, jobs ...string) store.Delivery {
	return Variant(n, "https://example.com/?token=1", "title", jobs...)
}

// Variant is a [Delivery] with another body.
func Variant(n int, detailsURL, title string, jobs ...string) store.Delivery {
	at := time.UnixMilli(1694664207595 + int64(n)).UTC()
	id := fmt.Sprintf("request-%d", n)
	return store.Delivery{
		Source:   "account",
		Envelope: &lumin.Envelope{SignatureRequestID: id, EventType: lumin.SignatureRequestSigned, EventTime: at},
		Payload: fmt.Appendf(nil, `{"event":{"event_time":%d,"event_type":"signature_request_signed"},`+
			`"signature_request":{"signature_request_id":%q,"title":%q,"details_url":%q}}`,
			at.UnixMilli(), id, title, detailsURL),
		Signature:  make([]byte, 32),
		KeyID:      "0011223344556677",
		ReceivedAt: at.Add(time.Second),
		Jobs:       Specs(jobs...),
	}
}

// From is the same delivery from another source.
func From(source string, d store.Delivery) store.Delivery {
	d.Source = source
	return d
}

// Key is the event key of a delivery.
func Key(d store.Delivery) lumin.EventKey {
	if d.Envelope == nil {
		return lumin.UnrecognizedKey(d.Payload)
	}
	return d.Envelope.Key()
}

// Specs returns a job spec for each job type.
func Specs(kinds ...string) []store.JobSpec {
	var list []store.JobSpec
	for _, kind := range kinds {
		list = append(list, store.JobSpec{Kind: kind, Queue: "default", MaxAttempts: 3, Priority: 1})
	}
	return list
}

// Record records deliveries one after another.
func Record(tb testing.TB, s *store.Store, deliveries ...store.Delivery) []store.Receipt {
	tb.Helper()
	r := store.NewRecorder(s, slog.New(slog.DiscardHandler), nil)
	defer r.Close()
	receipts := make([]store.Receipt, len(deliveries))
	for i, d := range deliveries {
		var err error
		if receipts[i], err = r.Record(tb.Context(), d); err != nil {
			tb.Fatal(err)
		}
	}
	return receipts
}
