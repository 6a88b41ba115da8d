package api_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"lumin-ingest/admin/api"
	"lumin-ingest/store"
)

func TestPagesOfEvents(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var want []int64
	for n := range 7 {
		want = append(want, r.record(delivery(n, "greet"))...)
	}
	for _, order := range []string{"oldest", "newest"} {
		var got []int64
		query := url.Values{"limit": {"3"}, "order": {order}}
		for pages := 0; ; pages++ {
			page := get[api.EventPage](r, "/events?"+query.Encode())
			for _, e := range page.Events {
				got = append(got, e.ID)
			}
			if page.Next == nil {
				break
			}
			if query.Set("cursor", *page.Next); pages > 3 {
				t.Fatal("the list does not end")
			}
		}
		if len(got) != len(want) || got[0] != want[map[string]int{"oldest": 0, "newest": 6}[order]] {
			t.Errorf("%s first: %v of %v", order, got, want)
		}
	}
}

func TestShowEvent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	id := r.record(delivery(1, "greet"))[0]
	e := get[store.EventDetails](r, "/events/1")
	if e.ID != id || len(e.RunsByKind) != 1 || e.Source != "account" {
		t.Errorf("%+v", e)
	}
	if a := r.call("read", http.MethodGet, "/events/99", ""); a.status != http.StatusNotFound || !strings.Contains(a.body, `"code":"no_such_record"`) {
		t.Errorf("%d %s", a.status, a.body)
	}
}
