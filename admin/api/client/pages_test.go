package client_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"lumin-ingest/admin/api"
	"lumin-ingest/admin/api/client"
	"lumin-ingest/store"
	"lumin-ingest/store/conflict"
)

// serving returns a client of a server with these answers.
func serving(t *testing.T, answers map[string]func(r *http.Request) any) *client.Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, ok := answers[r.URL.Path]
		if !ok {
			t.Errorf("asked for %s", r.URL)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(answer(r)); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	c, err := client.New(client.Config{Server: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func number(t *testing.T, r *http.Request, name string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(r.URL.Query().Get(name), 10, 64)
	if err != nil {
		t.Errorf("%s: %v", r.URL, err)
	}
	return n
}

// A list of conflicts is read page by page.
func TestConflictsBeyondAPage(t *testing.T) {
	t.Parallel()
	const all = 2500
	c := serving(t, map[string]func(*http.Request) any{api.Prefix + "/conflicts": func(r *http.Request) any {
		from := int64(0)
		if r.URL.Query().Has("cursor") {
			from = number(t, r, "cursor")
		}
		to := min(from+number(t, r, "limit"), all)
		var l api.ConflictList
		for id := from; id < to; id++ {
			l.Conflicts = append(l.Conflicts, conflict.Row{EventID: id + 1})
		}
		if to < all {
			l.Next = new(strconv.FormatInt(to, 10))
		}
		return l
	}})
	for limit, want := range map[int]int{10: 10, 1000: 1000, 2200: 2200, 9000: all} {
		rows, err := c.Conflicts(t.Context(), conflict.Filter{Limit: limit})
		if err != nil || len(rows) != want || rows[want-1].EventID != int64(want) {
			t.Errorf("limit %d: %d rows, %v", limit, len(rows), err)
		}
	}
}

// A tail begins with as many events as it is asked for, and returns each once.
func TestTailBeyondAPage(t *testing.T) {
	t.Parallel()
	const newest = 5000
	events := func(from, to, step int64) (all []store.EventSummary) {
		for id := from; id != to; id += step {
			all = append(all, store.EventSummary{ID: id})
		}
		return all
	}
	c := serving(t, map[string]func(*http.Request) any{
		api.Prefix + "/events/tail": func(r *http.Request) any {
			var in api.TailRequest
			if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
				t.Error(err)
			}
			if in.Cursor != "" { // 3000 was recorded between the two answers
				return api.TailPage{Events: []store.EventSummary{{ID: 3000}, {ID: newest + 1}}, Cursor: "c"}
			}
			return api.TailPage{Events: events(newest-int64(in.Lines)+1, newest+1, 1), Cursor: "c"}
		},
		api.Prefix + "/events": func(r *http.Request) any {
			before := number(t, r, "before")
			if r.URL.Query().Has("cursor") {
				before = number(t, r, "cursor")
			}
			last := before - number(t, r, "limit")
			return api.EventPage{Events: events(before-1, last-1, -1), Next: new(strconv.FormatInt(last, 10))}
		},
	})
	tail, begun, err := c.Tail(t.Context(), store.EventFilter{Limit: 3500})
	if err != nil || len(begun) != 3500 {
		t.Fatalf("%d events, %v", len(begun), err)
	}
	for i, e := range begun {
		if e.ID != newest-3500+1+int64(i) {
			t.Fatalf("event %d is %d", i, e.ID)
		}
	}
	next, err := tail.Next(t.Context())
	if err != nil || len(next) != 1 || next[0].ID != newest+1 {
		t.Errorf("%v, %v", next, err)
	}
}
