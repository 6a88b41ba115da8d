package api_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"lumin-ingest/admin/api"
	"lumin-ingest/admin/window"
	"lumin-ingest/internal/pgtest"
)

func receivedSources() []api.SourceUse {
	at := time.Unix(1, 0).UTC()
	return []api.SourceUse{{Source: "account", LastVerified: &at, MismatchesSince: 2, KeyIDs: []string{"0011223344556677"}}}
}

// manyConflictsSQL gives each event two conflicts, several of them at one time.
const manyConflictsSQL = `
INSERT INTO lumin.redeliveries (event_id, payload_sha256, differs, count, first_at, last_at)
SELECT e.id, decode(md5(e.id || '/' || n), 'hex'), 'content', 1, now(), '2026-01-01Z'::timestamptz + interval '1 s' * (e.id / 3)
FROM lumin.events e, generate_series(1, 2) n`

// Lists whose order is a key have pages: each row once, and the last page ends.
func TestPagesOfReplaysAndConflicts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for n := range 7 {
		r.record(delivery(n))
		r.call("operate", http.MethodPost, "/replays", replayFailed)
	}
	pgtest.Exec(t, r.store.Pool(), manyConflictsSQL)
	var replays []int64
	var conflicts []string
	for query := (url.Values{"limit": {"3"}}); ; {
		page := get[api.ReplayList](r, "/replays?"+query.Encode())
		for _, o := range page.Replays {
			replays = append(replays, o.ID)
		}
		if page.Next == nil || len(replays) > 20 {
			break
		}
		query.Set("cursor", *page.Next)
	}
	if !slices.Equal(replays, []int64{7, 6, 5, 4, 3, 2, 1}) {
		t.Errorf("replays %v", replays)
	}
	if older := get[api.ReplayList](r, "/replays?before=3"); len(older.Replays) != 2 || older.Replays[0].ID != 2 {
		t.Errorf("before 3: %+v", older.Replays)
	}
	for query := (url.Values{"limit": {"3"}, "undecided": {"true"}}); ; {
		page := get[api.ConflictList](r, "/conflicts?"+query.Encode())
		for _, c := range page.Conflicts {
			conflicts = append(conflicts, fmt.Sprintf("%d %d %s", 9999999999-c.LastAt.Unix(), 99-c.EventID, c.Body))
		}
		if page.Next == nil || len(conflicts) > 30 {
			break
		}
		query.Set("cursor", *page.Next)
	}
	if len(conflicts) != 14 || !slices.IsSorted(conflicts) || len(slices.Compact(conflicts)) != 14 {
		t.Errorf("%d conflicts:\n%s", len(conflicts), strings.Join(conflicts, "\n"))
	}
	if a := r.call("read", http.MethodGet, "/conflicts?cursor=x", ""); a.status != http.StatusUnprocessableEntity {
		t.Errorf("a cursor of no list: %d %s", a.status, a.body)
	}
}

// A search for the beginning of an id has a next page, also if another filter leaves
// few of the events.
func TestPagesOfASearchForAnID(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for n := range 9 {
		r.record(delivery(n, "greet"))
	}
	var found []string
	for query := (url.Values{"id": {"request-"}, "state": {"pending"}, "limit": {"4"}}); ; {
		page := get[api.EventPage](r, "/events/search?"+query.Encode())
		for _, e := range page.Events {
			found = append(found, *e.SignatureRequestID)
		}
		if page.Next == nil || len(found) > 20 {
			break
		}
		query.Set("cursor", *page.Next)
	}
	if slices.Sort(found); len(found) != 9 || len(slices.Compact(found)) != 9 {
		t.Errorf("found %v", found)
	}
}

// A job leads to its event while the queue has it. Runs are not searched for it.
func TestEventOfAJob(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.record(delivery(1, "greet"))
	job := pgtest.Value[int64](t, r.store.Pool(), `SELECT job_id FROM lumin.runs`)
	path := fmt.Sprintf("/jobs/%d/events", job)
	if page := get[api.EventPage](r, path); len(page.Events) != 1 || page.Events[0].ID != 1 {
		t.Errorf("%+v", page)
	}
	pgtest.Exec(t, r.store.Pool(), `UPDATE lumin.river_job SET kind = 'other', args = '{}'`)
	if a := r.call("read", http.MethodGet, path, ""); a.status != http.StatusNotFound || !strings.Contains(a.body, `"code":"not_a_run"`) {
		t.Errorf("the job of no run: %d %s", a.status, a.body)
	}
	pgtest.Exec(t, r.store.Pool(), `DELETE FROM lumin.river_job`)
	if a := r.call("read", http.MethodGet, path, ""); a.status != http.StatusNotFound || !strings.Contains(a.body, `"code":"no_such_record"`) {
		t.Errorf("a removed job: %d %s", a.status, a.body)
	}
}

func TestSourcesAndAlerts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if l := get[api.SourceList](r, "/sources"); len(l.Sources) != 1 || l.Sources[0].MismatchesSince != 2 || l.Sources[0].KeyIDs[0] != "0011223344556677" {
		t.Errorf("%+v", l)
	}
	pgtest.Exec(t, r.store.Pool(), `
		INSERT INTO lumin.alerts (key, condition, text, since, resolved_at)
		VALUES ('held', 'held', 'a', now(), NULL), ('resolved', 'resolved', 'b', now() - interval '1 h', now() - interval '10 min')`)
	if a := get[window.Alerts](r, "/alerts"); len(a.Alerts) != 1 || a.Alerts[0].Key != "held" {
		t.Errorf("%+v", a)
	}
	if a := get[window.Alerts](r, "/alerts?resolved_within_seconds=3600"); len(a.Alerts) != 2 || a.Alerts[1].ResolvedAt == nil {
		t.Errorf("%+v", a)
	}
}

// The numbers of a replay add up, also after later replays have taken some of its runs.
func TestReplayedLater(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	pgtest.Exec(t, r.store.Pool(), `INSERT INTO lumin.replays (status, state, enqueued, finished_at) VALUES ('failed', 'done', 3, now())`)
	pgtest.Exec(t, r.store.Pool(), `
		INSERT INTO lumin.runs (event_key, job_kind, event_id, state, replay_id, job_id, finished_at)
		SELECT gen_random_uuid(), 'book', n, 'dismissed', n / 3 + 1, n, now() FROM generate_series(1, 3) n`)
	d := get[api.ReplayDetails](r, "/replays/1")
	if want := "[{book dismissed 2}]"; fmt.Sprint(d.RunCounts) != want || d.ReplayedLater != 1 || d.Enqueued != 3 {
		t.Errorf("%+v, want %s and 1 replayed later of 3", d, want)
	}
}
