package replay_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/replay"
)

// FuzzOrder: an order comes back from its row as it was placed, and so does its
// JSON. Its AsOf is at most the time of the order. A filter that is refused is not stored.
func FuzzOrder(f *testing.F) {
	for n, text := range []string{"", "book", "a,b", "{a}", `"`, "NULL", "é\u202e", "'", "\\", "\x00", "\xff", strings.Repeat("x", 300)} {
		f.Add(text, text, uint8(n), int64(n), int64(n)*1000, int32(n), uint8(n))
		f.Add("book", text, uint8(7), int64(-n), int64(1694664207595), int32(-1), uint8(n))
	}
	replays := replay.New(storetest.New(f))
	statuses := []replay.Status{"", replay.Failed, replay.Retrying, replay.Cancelled, replay.Succeeded, replay.Missing, replay.Late, replay.Unrecognized, "dismissed", "odd"}
	f.Fuzz(func(t *testing.T, kind, text string, status uint8, id, ms int64, rate int32, shape uint8) {
		if ms < -60_000_000_000_000 || ms > 250_000_000_000_000 {
			return // not within the range of the flags
		}
		since, until := time.UnixMilli(ms).UTC(), time.UnixMilli(ms).UTC().Add(time.Duration(shape)*time.Millisecond)
		order := replay.NewOrder{Filter: replay.Filter{Status: statuses[int(status)%len(statuses)]}, Rate: int(rate), Reason: text, OrderedBy: text}
		if shape&1 != 0 {
			order.Filter.Kinds = []string{kind}
		}
		if shape&2 != 0 {
			order.Filter.SignatureRequestIDs, order.Filter.EventIDs = []string{text, kind}, []int64{id}
		}
		if shape&4 != 0 {
			order.Filter.ReceivedSince, order.Filter.ReceivedUntil = &since, &until
		}
		if shape&8 != 0 {
			order.Filter.AsOf = &since
		}
		placed, err := replays.Place(t.Context(), order)
		if refused := order.Validate(); refused != nil {
			if err == nil || err.Error() != refused.Error() {
				t.Errorf("%+v is refused with %v, and placed with %v", order, refused, err)
			}
			return
		}
		if err != nil {
			if storable(kind, text) {
				t.Errorf("%+v: %v", order, err)
			}
			return
		}
		stored, err := replays.Get(t.Context(), placed)
		if err != nil {
			t.Fatal(err)
		}
		if order.Filter.AsOf == nil || order.Filter.AsOf.After(stored.CreatedAt) {
			order.Filter.AsOf = &stored.CreatedAt
		}
		if got, want := jsonOf(t, stored.Filter), jsonOf(t, order.Filter); got != want {
			t.Errorf("stored %s, want %s", got, want)
		}
		if stored.Rate != order.Rate || stored.Reason != order.Reason || order.OrderedBy != "" && stored.OrderedBy != order.OrderedBy {
			t.Errorf("stored %+v, want %+v", stored, order)
		}
		var again replay.Filter
		if err := json.Unmarshal([]byte(jsonOf(t, stored.Filter)), &again); err != nil || jsonOf(t, again) != jsonOf(t, stored.Filter) {
			t.Errorf("%v, %s", err, jsonOf(t, again))
		}
	})
}

// storable reports whether PostgreSQL can store the texts.
func storable(texts ...string) bool {
	return !slices.ContainsFunc(texts, func(text string) bool { return !utf8.ValidString(text) || strings.Contains(text, "\x00") })
}

// jsonOf writes a filter, with empty lists as null and times in UTC.
func jsonOf(t *testing.T, f replay.Filter) string {
	t.Helper()
	for _, at := range []**time.Time{&f.ReceivedSince, &f.ReceivedUntil, &f.EventSince, &f.EventUntil, &f.AsOf} {
		if *at != nil {
			utc := (*at).UTC()
			*at = &utc
		}
	}
	text, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), "[]", "null")
}
