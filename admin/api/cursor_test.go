package api_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"lumin-ingest/admin/api"
	"lumin-ingest/store"
)

func TestForeignCursorsAreRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.record(delivery(1), delivery(2), delivery(3))
	page := get[api.EventPage](r, "/events?limit=1&source=account")
	for name, path := range map[string]string{
		"of another filter": "/events?limit=1&cursor=" + *page.Next,
		"of another list":   "/audit-log?cursor=" + *page.Next,
		"cut":               "/events?source=account&cursor=" + (*page.Next)[:20],
		"with more":         "/events?source=account&cursor=" + *page.Next + "A",
		"no cursor":         "/events?cursor=1",
		"a number too many": "/events?cursor=" + strings.Repeat("A", 300),
	} {
		if a := r.call("read", http.MethodGet, path, ""); a.status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	if a := r.call("read", http.MethodGet, "/events?limit=2&source=account&cursor="+*page.Next, ""); a.status != http.StatusOK {
		t.Errorf("another limit: %d %s", a.status, a.body)
	}
}

// A cursor that is accepted is exactly one that the API made.
func FuzzCursor(f *testing.F) {
	f.Add(api.MakeCursor("list", time.Unix(1, 2), 3))
	f.Add(api.MakeCursor("list", time.Time{}, 3))
	f.Add("eyJsIjoibGlzdCIsImkiOjF9")
	f.Fuzz(func(t *testing.T, text string) {
		if again, err := api.RemakeCursor("list", text); err == nil && text != "" && again != text {
			t.Errorf("%q became %q", text, again)
		}
	})
}

// A cursor of a tail that is accepted means the same when the API makes it again.
// Any other one is refused as what it is.
func FuzzTailCursor(f *testing.F) {
	f.Add("eyJuZXdlc3QiOjEsInVucmVhZCI6WzFdfQ")
	f.Add(api.MakeTailCursor(store.TailState{Newest: 7, Missing: []store.MissingRows{{Low: []int64{3}, High: []int64{5}, Known: true}}}))
	f.Fuzz(func(t *testing.T, text string) {
		state, err := api.ParseTailCursor(text)
		if err != nil {
			if err.Error() != store.ErrTailState.Error() {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		made := api.MakeTailCursor(state)
		again, err := api.ParseTailCursor(made)
		if err != nil || api.MakeTailCursor(again) != made {
			t.Errorf("%q became %q, and then %v, %v", text, made, again, err)
		}
	})
}

// Values that PostgreSQL cannot hold are refused, wherever they come from.
func TestOddTexts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, text := range map[string]string{"NUL": "a\x00b", "not UTF-8": "a\xffb", "a quote": "a'b", "long": strings.Repeat("x", 90)} {
		for _, path := range []string{"/events?signature_request_id=", "/lanes?signature_request_id=", "/audit-log?actor=", "/failures?job_kind=", "/conflicts?signature_request_id="} {
			if a := r.call("read", http.MethodGet, path+url.QueryEscape(text), ""); a.status >= 500 || (a.status == http.StatusOK) != utf8.ValidString(text) && name != "NUL" {
				t.Errorf("%s in %s: %d %s", name, path, a.status, a.body)
			}
		}
	}
	if a := r.call("read", http.MethodPost, "/replays/plan", `{"filter":{"job_kinds":["a\u0000b"]}}`); a.status != http.StatusUnprocessableEntity {
		t.Errorf("NUL in a body: %d %s", a.status, a.body)
	}
}
