package erasure_test

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store"
	"lumin-ingest/store/erasure"
	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/replay"
)

// zyzzyva is the person to erase. These tests write the name in several ways,
// but its last letters stay the same.
const zyzzyva = "zzyva"

// mentions counts the lines of a dump that contain a name, also in bytes, which
// are dumped in hex.
func mentions(dump []byte, who string) (lines int) {
	for line := range bytes.Lines(bytes.ToLower(dump)) {
		if bytes.Contains(line, []byte(who)) || bytes.Contains(line, []byte(hex.EncodeToString([]byte(who)))) ||
			bytes.Contains(line, []byte(hex.EncodeToString([]byte(strings.ToUpper(who))))) {
			lines++
		}
	}
	return lines
}

// recorded are deliveries that leave traces of a person in every table.
type recorded struct {
	failing, waiting, worked, mentioned, other, unrecognized store.Delivery
	redelivered                                              store.Delivery // the event of failing, with another body
}

func recordZyzzyva(tb testing.TB, s *store.Store) recorded {
	tb.Helper()
	const detailsURL = "https://example.com/?token=1"
	r := recorded{
		failing:     storetest.Variant(1, detailsURL, "for Zyzzyva@example.com", "book"),
		redelivered: storetest.Variant(1, detailsURL, "for zyzzyva@example.com, once more", "book"),
		waiting:     storetest.Variant(2, "https://example.com/?email=zyzzyva%40example.com", "title", "mail"),
		worked:      storetest.Variant(3, detailsURL, "by ZYZZYVA@EXAMPLE.COM.", "book"),
		other:       storetest.Variant(4, detailsURL, "for not.zyzzyv@example.com", "book"),
		unrecognized: store.Delivery{
			Source: "account", Payload: []byte(`{"a":"z\u0079zzyva\u0040example.com"`), Signature: make([]byte, 32), KeyID: "k", ReceivedAt: storetest.Delivery(1).ReceivedAt,
		},
	}
	// The event holds only the name. Another event of its signature request
	// mentions the address.
	r.mentioned = storetest.Variant(5, detailsURL, "Mr. Zyzzyva", "book")
	r.mentioned.Envelope.SignatureRequestID = r.worked.Envelope.SignatureRequestID
	storetest.Record(tb, s, r.failing)
	storetest.FailAll(tb, s)
	storetest.Record(tb, s, r.waiting, r.worked, r.other, r.mentioned, r.unrecognized, r.redelivered)
	if err := storetest.Succeed(tb, s, r.worked, "book"); err != nil {
		tb.Fatal(err)
	}
	for _, sql := range []string{
		`UPDATE lumin.runs SET error = 'no account of Zyzzyva'  WHERE state <> 'succeeded'`,
		`UPDATE lumin.failures SET errors = ARRAY['{"error": "Zyzzyva"}'::jsonb]`,
		`UPDATE lumin.river_job SET errors = ARRAY['{"error": "Zyzzyva"}'::jsonb] WHERE args ->> 'event_key' IN (SELECT event_key::text FROM lumin.events WHERE signature_request_id <> 'request-4')`,
		`UPDATE lumin.runs SET error = 'as it was' WHERE event_id = (SELECT id FROM lumin.events WHERE signature_request_id = 'request-4')`,
		`INSERT INTO lumin.signature_requests (signature_request_id, title) VALUES ('request-3', 'Mr. Zyzzyva'), ('request-4', 'other'),
		 ('request-9', 'for Zyzzyva@example.com, whose bodies are gone')`,
	} {
		storetest.Exec(tb, s.Pool(), sql)
	}
	return r
}

// wantErased checks the states of the runs, and that only the data of the other
// person remains.
func wantErased(tb testing.TB, s *store.Store, r recorded) {
	tb.Helper()
	storetest.WantState(tb, s, r.failing, "book", "cancelled 0")
	storetest.WantState(tb, s, r.waiting, "mail", "cancelled 0")
	storetest.WantState(tb, s, r.worked, "book", "succeeded 0")
	storetest.WantState(tb, s, r.mentioned, "book", "cancelled 0")
	storetest.WantState(tb, s, r.other, "book", "pending 0")
	if n := storetest.Value[int](tb, s.Pool(), `SELECT count(*) FROM lumin.events WHERE payload IS NOT NULL`); n != 1 {
		tb.Errorf("%d bodies remain, want only the other event's", n)
	}
	if n := storetest.Value[int](tb, s.Pool(), `SELECT count(*) FROM lumin.signature_requests`); n != 1 {
		tb.Errorf("%d signature requests remain, want only the other", n)
	}
}

func TestErase(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := storetest.On(t, pgtest.Pool(t, url))
	r := recordZyzzyva(t, s)
	before := mentions(pgtest.Dump(t, url), zyzzyva)
	if before < 10 {
		t.Fatalf("%d lines of the dump have the name before: the search does not work", before)
	}
	e := eraseBy(t, s, erasure.Subject{Email: "zyzzyva@example.com"})
	want := erasure.Counts{Bodies: 5, Redeliveries: 1, Errors: 4, RunsCancelled: 3}
	if e.Counts != want || e.ErasedBy != "tester" || e.Subject != "email" || e.Reason != "asked for by [address]" {
		t.Errorf("erased %+v\nwant %+v", e, want)
	}
	if !slices.Equal(e.SignatureRequestIDs, []string{"request-1", "request-2", "request-3", "request-9"}) || len(e.EventIDs) != 1 {
		t.Errorf("erased of %q and %d", e.SignatureRequestIDs, e.EventIDs)
	}
	search := func(when string) {
		t.Helper()
		if n := mentions(pgtest.Dump(t, url), zyzzyva); n != 0 {
			t.Errorf("%s: %d lines of the dump have the name", when, n)
		}
	}
	search("after the erasure")
	wantErased(t, s, r)

	// A redelivery is recognized and counted, but not stored.
	again := storetest.Record(t, s, r.failing, r.redelivered, r.waiting, r.worked, r.mentioned, r.unrecognized)
	for _, receipt := range again {
		if receipt.Status != store.Duplicate {
			t.Errorf("redelivered: %+v", receipt)
		}
	}
	third := storetest.Variant(1, "https://example.com/?token=3", "for zyzzyva@example.com, a third time", "book")
	storetest.Record(t, s, third)
	if n := storetest.Value[int](t, s.Pool(), `SELECT sum(count)::int FROM lumin.redeliveries`); n != 8 {
		t.Errorf("%d redeliveries counted, want one before and seven after", n)
	}
	// Another source reports the same events for the first time.
	if receipts := storetest.Record(t, s, storetest.From("app:crm", r.failing), storetest.From("app:crm", third)); receipts[0].Status != store.Recorded || receipts[1].Status != store.Duplicate {
		t.Errorf("from another source: %+v", receipts)
	}
	search("after the redeliveries")
	if n := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.river_job j JOIN lumin.events e ON e.event_key::text = j.args ->> 'event_key' WHERE e.payload IS NULL`); n != 0 {
		t.Errorf("%d jobs of erased events", n)
	}

	// No replay creates a run of it again, and nothing remains to be erased.
	for _, status := range []replay.Status{replay.Failed, replay.Cancelled, replay.Unrecognized} {
		if plan, err := replay.New(s).Plan(t.Context(), replay.Filter{Status: status}); err != nil || !plan.Empty() {
			t.Errorf("replay of %s: %+v, %v", status, plan, err)
		}
	}
	for _, subject := range []erasure.Subject{{Email: "zyzzyva@example.com"}, {SignatureRequestIDs: []string{"request-1", "request-3"}}} {
		if plan, err := erasure.NewPlan(t.Context(), s.Pool(), subject); err != nil || !plan.Empty() {
			t.Errorf("%+v: %+v, %v", subject, plan, err)
		}
	}
}
