package store_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store"
	"lumin-ingest/store/internal/storetest"
)

// searchFillSQL inserts events of 40 signature requests, two types and two sources,
// with runs of two job types in all states.
const searchFillSQL = `
INSERT INTO lumin.events (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at)
SELECT (lpad(to_hex(n), 12, '0') || '8000' || '8000' || lpad(to_hex(n * 7919 % 9973), 12, '0'))::uuid, s,
       CASE WHEN n % 17 > 0 THEN 'request-' || n % 40 END, CASE WHEN n % 17 > 0 THEN 'type-' || n % 2 END, CASE WHEN n % 17 > 0 THEN now() END,
       '', '', '', 'k', '2026-01-01Z'::timestamptz + interval '1 s' * (n / 3)
FROM generate_series(1, 300) n, unnest('{account,app:crm}'::text[]) s WHERE s = 'account' OR n % 3 = 0;
INSERT INTO lumin.runs (event_key, job_kind, event_id, job_id, state, error, finished_at, pending_since)
SELECT e.event_key, k, e.id, e.id * 10 + ascii(k) % 10, state, CASE WHEN e.id % 2 = 0 THEN 'broken' END,
       CASE WHEN state NOT IN ('pending', 'parked') THEN now() END, '2026-01-01Z'::timestamptz + interval '1 s' * (e.id / 9)
FROM lumin.events e, unnest('{book,send}'::text[]) k,
     LATERAL (SELECT ('{failed,pending,parked,succeeded,cancelled,dismissed}'::text[])[1 + (e.id + ascii(k) % 10 * e.id / 7) % 6] AS state) x
WHERE e.source = 'account' AND e.signature_request_id IS NOT NULL;
INSERT INTO lumin.dismissals (event_key, job_kind, reason, dismissed_by)
SELECT event_key, job_kind, 'r', 'b' FROM lumin.runs WHERE state = 'dismissed';
INSERT INTO lumin.river_job (id, args, kind, max_attempts, attempt, state)
SELECT job_id, jsonb_build_object('event_key', event_key::text, 'replay_id', 0), job_kind, 3, (event_id % 3 > 0)::int, 'available'
FROM lumin.runs WHERE state = 'pending'`

// foundSQL finds the same events by the simplest statement.
const foundSQL = `
SELECT coalesce(array_agg(e.id ORDER BY e.id), '{}') FROM lumin.events e
WHERE ($1 = '' OR e.source = $1) AND ($2 = '' OR e.event_type = $2) AND ($3 = '' OR e.signature_request_id = $3)
  AND ($4::timestamptz IS NULL OR e.received_at >= $4) AND (NOT $5 OR e.signature_request_id IS NULL) AND (NOT $9 OR e.late)
  AND (($6 = '' AND $7 = '' AND $8 = '') OR EXISTS (
      SELECT FROM lumin.runs r LEFT JOIN lumin.river_job j ON j.id = r.job_id
      WHERE r.event_key = e.event_key AND ($7 = '' OR r.job_kind = $7) AND ($8 = '' OR coalesce(r.error_fingerprint, 'none') = $8)
        AND ($6 = '' OR r.state = $6 OR ($6 = 'retrying' AND r.state = 'pending' AND r.error IS NOT NULL AND j.attempt > 0))))`

// A search finds exactly the events that match, each once and on pages that follow
// each other, also if a page stops before it is full.
func TestSearch(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Exec(t, s.Pool(), searchFillSQL)
	storetest.Exec(t, s.Pool(), `UPDATE lumin.events SET late = true WHERE id % 5 < 2`)
	middle := storetest.Value[*time.Time](t, s.Pool(), `SELECT max(received_at) - interval '40 s' FROM lumin.events`)
	fingerprint := storetest.Value[string](t, s.Pool(), `SELECT max(error_fingerprint) FROM lumin.runs`)
	var searches []store.Search
	for _, state := range append(store.SearchStates(), "") {
		for _, f := range []store.Search{
			{}, {Kind: "book"}, {Fingerprint: fingerprint, Kind: "send"}, {Fingerprint: "none"}, {Source: "app:crm"}, {EventType: "type-1"}, {SignatureRequestID: "request-7"},
			{Source: "account", EventType: "type-0", Kind: "book"}, {ReceivedSince: middle}, {Unrecognized: true}, {Source: "app:other"},
			{Late: true}, {Late: true, Source: "account", Kind: "book"}, {Late: true, SignatureRequestID: "request-7"},
		} {
			f.State = state
			searches = append(searches, f)
		}
	}
	for i, f := range searches {
		want := storetest.Value[[]int64](t, s.Pool(), foundSQL, f.Source, f.EventType, f.SignatureRequestID, f.ReceivedSince, f.Unrecognized, f.State, f.Kind, f.Fingerprint, f.Late)
		for _, looks := range []int{11, 10000} {
			t.Run(fmt.Sprintf("%d %s looks %d", i, f.State, looks), func(t *testing.T) {
				t.Parallel()
				got := searchAll(t, s, f.Looking(looks), 7)
				if f.State == "pending" { // an event whose runs became pending at different times may come twice
					slices.Sort(got)
					got = slices.Compact(got)
				}
				slices.Sort(got)
				if !slices.Equal(got, want) {
					t.Errorf("%+v\nfound %v\nwant  %v", f, got, want)
				}
			})
		}
	}
}

// searchAll returns the events of all pages.
func searchAll(tb testing.TB, s *store.Store, f store.Search, limit int) (ids []int64) {
	tb.Helper()
	var from store.SearchPosition
	for range 1000 {
		page, err := s.Search(tb.Context(), f, from, limit)
		if err != nil {
			tb.Fatal(err)
		}
		for _, e := range page.Events {
			ids = append(ids, e.ID)
		}
		if page.Next == nil {
			return ids
		}
		from = *page.Next
	}
	tb.Fatal("the search does not end")
	return nil
}

// Ids are found by their beginning, and events by the number of a job.
func TestSearchByID(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Exec(t, s.Pool(), searchFillSQL)
	one := func(sql string) string { return storetest.Value[string](t, s.Pool(), sql) }
	for _, test := range []struct{ id, sql string }{
		{one(`SELECT event_key::text FROM lumin.events WHERE id = 30`), `event_key = (SELECT event_key FROM lumin.events WHERE id = 30)`},
		{one(`SELECT left(event_key::text, 18) FROM lumin.events WHERE id = 30`), `left(event_key::text, 18) = (SELECT left(event_key::text, 18) FROM lumin.events WHERE id = 30)`},
		{"30", `id = 30`},
		{"request-39", `signature_request_id = 'request-39'`},
		{"request-3", `signature_request_id LIKE 'request-3%'`},
		{one(`SELECT max(id)::text FROM lumin.river_job`), `event_key = (SELECT (args ->> 'event_key')::uuid FROM lumin.river_job ORDER BY id DESC LIMIT 1)`},
		{"request-\x00", `false`}, {"nothing", `false`}, {"-", `false`}, {"%", `false`}, {"99999999999999999999", `false`},
	} {
		want := storetest.Value[[]int64](t, s.Pool(), `SELECT coalesce(array_agg(id ORDER BY received_at DESC, id DESC), '{}') FROM lumin.events WHERE `+test.sql)
		page, err := s.Search(t.Context(), store.Search{ID: test.id}, store.SearchPosition{}, 1000)
		if err != nil {
			t.Fatal(err)
		}
		got := []int64{}
		for _, e := range page.Events {
			got = append(got, e.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: found %v, want %v", test.id, got, want)
		}
	}
}

// A search for the beginning of an id finds each event that matches the other filters
// too, once, on pages that follow each other.
func TestSearchByIDPages(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Exec(t, s.Pool(), searchFillSQL)
	job := storetest.Value[string](t, s.Pool(), `SELECT max(id)::text FROM lumin.river_job`)
	for _, f := range []store.Search{
		{ID: "request-"}, {ID: "request-", State: "failed"}, {ID: "request-3", State: "succeeded", Kind: "send"}, {ID: "request-", Source: "app:crm", State: "parked"},
		{ID: "request-", EventType: "type-1"}, {ID: "request-7", SignatureRequestID: "request-7"}, {ID: "0000"}, {ID: "0000", State: "failed"}, {ID: "0000", Source: "app:crm"},
		{ID: "0000", Unrecognized: true}, {ID: job}, {ID: "request-", State: "dismissed", Kind: "none"},
	} {
		want := storetest.Value[[]int64](t, s.Pool(), `
			SELECT coalesce(array_agg(e.id ORDER BY e.id), '{}') FROM lumin.events e
			WHERE (e.event_key::text LIKE $1 || '%' AND length($1) > 3 OR starts_with(e.signature_request_id, $1) OR e.id::text = $1
			       OR e.event_key = (SELECT (j.args ->> 'event_key')::uuid FROM lumin.river_job j WHERE j.id::text = $1))
			  AND ($2 = '' OR e.source = $2) AND ($3 = '' OR e.event_type = $3) AND ($4 = '' OR e.signature_request_id = $4)
			  AND (NOT $5 OR e.signature_request_id IS NULL)
			  AND (($6 = '' AND $7 = '') OR EXISTS (
			      SELECT FROM lumin.runs r WHERE r.event_key = e.event_key AND ($6 = '' OR r.state = $6) AND ($7 = '' OR r.job_kind = $7)))`,
			f.ID, f.Source, f.EventType, f.SignatureRequestID, f.Unrecognized, f.State, f.Kind)
		for _, looks := range []int{11, 10000} {
			got := searchAll(t, s, f.Looking(looks), 7)
			if slices.Sort(got); !slices.Equal(got, want) {
				t.Errorf("%+v looks %d\nfound %v\nwant  %v", f, looks, got, want)
			}
		}
		if len(want) == 0 && f.Kind != "none" {
			t.Errorf("%+v: no event matches, so nothing is tested", f)
		}
	}
}

// No page of a search reads a large table, whatever the filter.
func TestSearchPlans(t *testing.T) {
	t.Parallel()
	address := pgtest.New(t)
	conn := pgtest.Conn(t, address)
	storetest.Fill(t, conn, 1, 30000)
	exec(t, conn, analyzeSQL)
	for _, state := range append(store.SearchStates(), "") {
		for _, f := range []store.Search{{}, {Kind: "none"}, {Source: "account"}, {Source: "app:none"}, {EventType: "signature_request_signed"}, {EventType: "none"}, {Source: "app:none", Kind: "book"}, {SignatureRequestID: "request-77"}, {ID: "request-2999"}, {ID: "77"}} {
			f.State = state
			for _, q := range f.Queries() {
				plan := explain(t, conn, q.SQL, q.Args)
				if storetest.ReadsAll.MatchString(plan) {
					t.Errorf("%+v reads a whole table:\n%s", f, plan)
				}
				for _, line := range storetest.RemovedRows.FindAllStringSubmatch(plan, -1) {
					if len(line[1]) > 4 {
						t.Errorf("%+v reads %s rows and discards them:\n%s", f, line[1], plan)
					}
				}
			}
		}
	}
}
