package store_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"lumin-ingest/store"
)

// listByTwo lists the ids of the events that match, in pages of two. It checks
// the order of each page.
func listByTwo(tb testing.TB, s *store.Store, f store.EventFilter) (ids []int64) {
	tb.Helper()
	for f.Limit = 2; ; {
		page, err := s.ListEvents(tb.Context(), f)
		if err != nil {
			tb.Fatal(err)
		}
		for _, e := range page {
			if before := f.Before; before.ID > 0 && (e.ReceivedAt.After(before.ReceivedAt) || e.ReceivedAt.Equal(before.ReceivedAt) && e.ID >= before.ID) {
				tb.Errorf("event %+v is not before %+v", e, before)
			}
			f.Before = e.Position()
			ids = append(ids, e.ID)
		}
		if len(page) < 2 {
			return ids
		}
	}
}

func TestListEvents(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	all := []store.Delivery{
		delivery(0, "book", "mail"),
		from("app:crm", delivery(1, "book")),
		delivery(2),
		{Source: "account", Payload: []byte("?"), Signature: make([]byte, 32), KeyID: "k", ReceivedAt: delivery(3).ReceivedAt},
	}
	all[2].Envelope.EventType = "signature_request_sent"
	receipts := recordAll(t, s, all...)
	recordAll(t, s, delivery(0, "book"), delivery(0), variant(0, "fresh", "title"))
	if err := s.Settle(t.Context(), attempt(all[0], "mail", 0)); err != nil {
		t.Fatal(err)
	}
	number := map[int64]int{}
	for n, r := range receipts {
		number[r.EventID] = n
	}
	at := func(n int) *time.Time { return &all[n].ReceivedAt }
	// Events of one batch have ids in the order of their keys, so the order of
	// each page is compared by id.
	for name, c := range map[string]struct {
		filter store.EventFilter
		want   string
	}{
		"all":               {store.EventFilter{}, "0 1 2 3"},
		"source":            {store.EventFilter{Source: "app:crm"}, "1"},
		"event type":        {store.EventFilter{EventType: "signature_request_sent"}, "2"},
		"signature request": {store.EventFilter{SignatureRequestID: "request-0"}, "0"},
		"unrecognized":      {store.EventFilter{Unrecognized: true}, "3"},
		"received since":    {store.EventFilter{ReceivedSince: at(2)}, "2 3"},
		"received until":    {store.EventFilter{ReceivedUntil: at(2)}, "0 1"},
		"together":          {store.EventFilter{Source: "account", ReceivedSince: at(1), ReceivedUntil: at(3)}, "2"},
		"nothing":           {store.EventFilter{Source: "account", EventType: "none"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var seen []int
			for _, id := range listByTwo(t, s, c.filter) {
				seen = append(seen, number[id])
			}
			slices.Sort(seen)
			if got := strings.Trim(fmt.Sprint(seen), "[]"); got != c.want {
				t.Errorf("listed %q, want %q", got, c.want)
			}
		})
	}

	page, err := s.ListEvents(t.Context(), store.EventFilter{SignatureRequestID: "request-0", Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	e := page[0]
	if e.ID != receipts[0].EventID || e.Key != all[0].Envelope.Key().String() || e.Source != "account" || *e.EventType != "signature_request_signed" ||
		!e.EventTime.Equal(all[0].Envelope.EventTime) || !e.ReceivedAt.Equal(all[0].ReceivedAt) ||
		e.Redeliveries != 3 || e.Runs.String() != "1 pending, 1 succeeded" {
		t.Errorf("%+v", e)
	}
}

func TestShowEvent(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := delivery(1, "mail", "book")
	id := recordAll(t, s, d)[0].EventID
	recordAll(t, s, from("app:crm", delivery(1, "crm")))
	recordAll(t, s, later(1, d), later(2, variant(1, "fresh", "title")), later(3, variant(1, "x", "other")))
	finalize(t, s, d, "discarded", "oh")
	got, err := s.ShowEvent(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if got.ID != id || got.KeyID != d.KeyID || *got.PayloadSize != int64(len(d.Payload)) || got.PayloadRemovedAt != nil ||
		got.Redeliveries != 3 || got.Runs.String() != "3 failed" {
		t.Errorf("%+v", got)
	}
	var repeated []string
	for _, r := range got.Repeated {
		repeated = append(repeated, fmt.Sprintf("%s %d", r.Differs, r.Count))
	}
	if fmt.Sprint(repeated) != "[nothing 1 details_url 1 content 1]" {
		t.Errorf("repeated %v", repeated)
	}
	var runs []string
	for _, r := range got.RunsByKind {
		runs = append(runs, fmt.Sprintf("%s %s %d %d %s", r.Kind, r.State, r.ReplayID, r.Attempts, *r.Error))
		if r.JobID == nil || r.FinishedAt == nil || r.CreatedAt.IsZero() {
			t.Errorf("%+v", r)
		}
	}
	if fmt.Sprint(runs) != "[book failed 0 1 oh crm failed 0 1 oh mail failed 0 1 oh]" {
		t.Errorf("runs %v", runs)
	}
	_, err = s.ShowEvent(t.Context(), id+1000)
	wantError(t, err, store.ErrNotFound)

	exec(t, s.Pool(), `UPDATE lumin.events SET payload = NULL, payload_removed_at = now()`)
	if got, err = s.ShowEvent(t.Context(), id); err != nil || *got.PayloadSize != 0 || got.PayloadRemovedAt == nil {
		t.Errorf("removed: %+v, %v", got, err)
	}
}

func TestPayload(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := delivery(1)
	d.Payload = bytes.Repeat([]byte("\x00\xff["), 1<<20/3) // the largest body that ingest accepts
	id := recordAll(t, s, d)[0].EventID
	got, err := s.Payload(t.Context(), id)
	if err != nil || !bytes.Equal(got, d.Payload) {
		t.Errorf("%d other bytes, %v", len(got), err)
	}
	_, err = s.Payload(t.Context(), id+1000)
	wantError(t, err, store.ErrNotFound)
	exec(t, s.Pool(), `UPDATE lumin.events SET payload = NULL, payload_removed_at = now()`)
	_, err = s.Payload(t.Context(), id)
	wantError(t, err, store.ErrPayloadRemoved)
}

func TestRunCounts(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	if age, err := s.OldestPending(t.Context()); err != nil || age != 0 {
		t.Errorf("oldest of none: %s, %v", age, err)
	}
	fail(t, s, delivery(1, "book"))
	recordAll(t, s, delivery(2, "book", "mail"), delivery(3, "book"))
	age(t, s)
	counts, err := s.RunCounts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(counts) != "[{book failed 1 of replay 0} {book pending 2 } {mail pending 1 }]" {
		t.Errorf("%v", counts)
	}
	exec(t, s.Pool(), `INSERT INTO lumin.job_types (kind, events, sources, transactional, queue) VALUES ('book', '{}', '{}', true, 'q'), ('idle', '{}', '{}', true, 'q')`)
	exec(t, s.Pool(), `UPDATE lumin.runs SET state = 'succeeded', finished_at = now() WHERE job_kind = 'mail'`)
	unsettled, err := s.UnsettledRuns(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(unsettled) != "[{book failed 1} {book pending 2} {idle failed 0} {idle pending 0}]" {
		t.Errorf("unsettled: %v", unsettled)
	}
	if age, err := s.OldestPending(t.Context()); err != nil || age < 2*time.Minute || age > time.Hour {
		t.Errorf("oldest: %s, %v", age, err)
	}
}

// An export contains every event once, whatever the sizes of its pages.
func TestEvents(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	exec(t, s.Pool(), `
		INSERT INTO lumin.events (event_key, source, payload, payload_sha256, signature, key_id, received_at)
		SELECT gen_random_uuid(), CASE WHEN n % 3 = 0 THEN 'app:crm' ELSE 'account' END, '', '', '', 'k', now() FROM generate_series(1, 3000) n`)
	for name, c := range map[string]struct {
		filter store.EventFilter
		want   int
	}{
		"all":          {store.EventFilter{}, 3000},
		"a page":       {store.EventFilter{Limit: 1000}, 1000},
		"over a page":  {store.EventFilter{Limit: 1001}, 1001},
		"one":          {store.EventFilter{Limit: 1}, 1},
		"more":         {store.EventFilter{Limit: 5000}, 3000},
		"of a source":  {store.EventFilter{Source: "app:crm"}, 1000},
		"of no source": {store.EventFilter{Source: "app:none"}, 0},
	} {
		seen, last := 0, int64(1<<62)
		for e, err := range s.Events(t.Context(), c.filter) {
			if err != nil {
				t.Fatal(err)
			}
			if e.ID >= last {
				t.Fatalf("%s: %d after %d", name, e.ID, last)
			}
			seen, last = seen+1, e.ID
		}
		if seen != c.want {
			t.Errorf("%s: %d events, want %d", name, seen, c.want)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range s.Events(ended, store.EventFilter{}) {
		wantError(t, err, context.Canceled)
	}
}
