package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// listedEvents records events to list: of two sources, three types and odd
// signature requests, several at one time, and one without an identity.
func listedEvents(f *testing.F, s *store.Store) []store.EventSummary {
	f.Helper()
	var all []store.Delivery
	for n, request := range []string{"a", "b", "a'; DROP TABLE lumin.events; --", `"`, "%", "@source", "$1", "é\u202e", "a"} {
		d := delivery(n)
		d.Source = []string{"account", "app:crm"}[n%2]
		d.Envelope.SignatureRequestID = request
		d.Envelope.EventType = []lumin.EventType{"signature_request_signed", "x", "' OR true --"}[n%3]
		d.ReceivedAt = delivery(n / 3).ReceivedAt
		d.Late = n%4 > 1
		all = append(all, d)
	}
	all = append(all, store.Delivery{Source: "account", Payload: []byte("?"), Signature: make([]byte, 32), KeyID: "k", ReceivedAt: delivery(1).ReceivedAt})
	r := newRecorder(f, s)
	for _, d := range all {
		mustRecord(f, r, d)
	}
	events, err := s.ListEvents(f.Context(), store.EventFilter{Limit: 100})
	if err != nil || len(events) != len(all) {
		f.Fatalf("%d events, %v", len(events), err)
	}
	return events
}

// FuzzListEvents compares lists with a filter written in Go, page by page and
// in both orders. The text of the statement does not depend on values.
func FuzzListEvents(f *testing.F) {
	for n, text := range []string{"", "account", "app:crm", "x", "a", "a'; DROP TABLE lumin.events; --", "' OR true --", "%", "@source", "$1", `"`, "é\u202e", "\\", "\xff", "\x00"} {
		flags := uint8(n)
		f.Add(text, "", "", flags, uint8(1), int16(0), int16(2000))
		f.Add("account", text, "", flags+1, uint8(2), int16(-1), int16(1001))
		f.Add("", "x", text, flags+2, uint8(100), int16(1), int16(1002))
	}
	f.Add("", "", "a", uint8(4), uint8(2), int16(0), int16(2000)) // late events of a signature request that has others
	s := newStore(f)
	all := listedEvents(f, s)
	f.Fuzz(func(t *testing.T, source, eventType, request string, flags, limit uint8, since, until int16) {
		first := delivery(0).ReceivedAt
		from, to := first.Add(time.Duration(since)*time.Millisecond), first.Add(time.Duration(until)*time.Millisecond)
		filter := store.EventFilter{
			Source: source, EventType: eventType, SignatureRequestID: request, Unrecognized: flags&1 != 0, OldestFirst: flags&2 != 0, Late: flags&4 != 0,
			ReceivedSince: &from, ReceivedUntil: &to, Limit: max(int(limit), 1),
		}
		wantBound(t, filter)
		got, err := listPages(t, s, filter)
		if !storable(source, eventType, request) {
			if err == nil && len(got) > 0 {
				t.Errorf("%+v lists %v", filter, got)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		var want []int64
		for _, e := range all {
			if matches(filter, e) {
				want = append(want, e.ID)
			}
		}
		if filter.OldestFirst {
			slices.Reverse(want)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%+v lists %v, want %v", filter, got, want)
		}
	})
}

// storable reports whether PostgreSQL can store the texts.
func storable(texts ...string) bool {
	return !slices.ContainsFunc(texts, func(text string) bool { return !utf8.ValidString(text) || strings.Contains(text, "\x00") })
}

// matches reports whether a filter accepts an event.
func matches(f store.EventFilter, e store.EventSummary) bool {
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	return (f.Source == "" || e.Source == f.Source) && (f.EventType == "" || text(e.EventType) == f.EventType) &&
		(f.SignatureRequestID == "" || text(e.SignatureRequestID) == f.SignatureRequestID) && (!f.Unrecognized || e.SignatureRequestID == nil) && (!f.Late || e.Late) &&
		!e.ReceivedAt.Before(*f.ReceivedSince) && e.ReceivedAt.Before(*f.ReceivedUntil)
}

// listPages lists events in pages of f.Limit, each from the last position of
// the page before.
func listPages(t *testing.T, s *store.Store, f store.EventFilter) (ids []int64, err error) {
	t.Helper()
	for {
		page, err := s.ListEvents(t.Context(), f)
		if err != nil {
			return nil, err
		}
		for _, e := range page {
			ids = append(ids, e.ID)
		}
		if len(page) < f.Limit {
			return ids, nil
		}
		if last := page[len(page)-1].Position(); f.OldestFirst {
			f.After = last
		} else {
			f.Before = last
		}
	}
}

// wantBound fails if the statement of a filter depends on a value, or does not
// pass it as a parameter.
func wantBound(t *testing.T, f store.EventFilter) {
	t.Helper()
	sql, args := f.ListQuery()
	harmless := f
	for _, field := range []*string{&harmless.Source, &harmless.EventType, &harmless.SignatureRequestID} {
		if *field != "" {
			*field = "x"
		}
	}
	if same, _ := harmless.ListQuery(); same != sql {
		t.Errorf("the statement depends on a value: %s", sql)
	}
	if bound := fmt.Sprint(args["source"], args["type"], args["request"]); bound != fmt.Sprint(f.Source, f.EventType, f.SignatureRequestID) {
		t.Errorf("the parameters are %q", bound)
	}
}
