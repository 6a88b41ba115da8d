package alerts_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store"
	"lumin-ingest/store/alerts"
	"lumin-ingest/store/internal/storetest"
)

// finding examines all conditions and returns one.
func finding(t *testing.T, pool *pgxpool.Pool, limits alerts.Limits, condition string) alerts.Finding {
	t.Helper()
	all := alerts.New(pool, limits).Examine(t.Context())
	i := slices.IndexFunc(all, func(f alerts.Finding) bool { return f.Condition == condition })
	if i < 0 {
		t.Fatalf("condition %s was not examined", condition)
	}
	if all[i].Err != nil {
		t.Fatalf("%s: %v", condition, all[i].Err)
	}
	return all[i]
}

// want checks the keys of the alerts of a condition, and that their texts hold these
// parts.
func want(t *testing.T, pool *pgxpool.Pool, limits alerts.Limits, condition, keys string, parts ...string) {
	t.Helper()
	f := finding(t, pool, limits, condition)
	var got, text []string
	for _, a := range f.Alerts {
		got, text = append(got, a.Key), append(text, a.Text)
		if a.Condition() != condition || strings.Contains(a.Text, "\n") {
			t.Errorf("%+v", a)
		}
	}
	if strings.Join(got, " ") != keys {
		t.Errorf("%s: %q (%s), want %q", condition, got, f.Reason, keys)
	}
	if len(got) == 0 && f.Reason == "" {
		t.Errorf("%s: there is no reason", condition)
	}
	for _, part := range parts {
		if joined := strings.Join(text, "\n") + f.Reason; !strings.Contains(joined, part) {
			t.Errorf("%s: no %q in %q", condition, part, joined)
		}
	}
}

func TestNothingHolds(t *testing.T) {
	t.Parallel()
	for _, f := range alerts.New(pgtest.Pool(t, pgtest.New(t)), alerts.Limits{}).Examine(t.Context()) {
		if f.Err != nil || len(f.Alerts) > 0 || f.Partly || f.Reason == "" {
			t.Errorf("in an empty database: %+v", f)
		}
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Record(t, s, storetest.Delivery(1, "book"), storetest.Delivery(2, "book"))
	storetest.FailAll(t, s)
	storetest.Exec(t, s.Pool(), `UPDATE lumin.runs SET error = 'no account 12 of ann@example.com.' || E'\nsecond line'`)
	fingerprint := storetest.Value[string](t, s.Pool(), `SELECT min(error_fingerprint) FROM lumin.runs`)
	want(t, s.Pool(), alerts.Limits{}, alerts.Failure, "failure/book/"+fingerprint,
		"book failed for good (2 runs, the newest of event 2, error "+fingerprint+"): no account 12 of [address]. Fix the cause and replay.")
	storetest.Exec(t, s.Pool(), `SELECT lumin.dismiss_failure(event_key, job_kind, 'test') FROM lumin.failed_runs`)
	want(t, s.Pool(), alerts.Limits{}, alerts.Failure, "", "no run has failed")
}

// Of more errors than are listed, an open alert goes on while a run of its error has
// failed, and no longer.
func TestManyFailures(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	var deliveries []store.Delivery
	for n := range 102 {
		deliveries = append(deliveries, storetest.Delivery(n, "book"))
	}
	storetest.Record(t, s, deliveries...)
	storetest.FailAll(t, s)
	storetest.Exec(t, s.Pool(), `UPDATE lumin.runs SET error = 'error ' || repeat('x', event_id::int)`)
	all := finding(t, s.Pool(), alerts.Limits{}, alerts.Failure)
	if len(all.Alerts) != 100 || !all.Partly {
		t.Fatalf("%d alerts, partly %v", len(all.Alerts), all.Partly)
	}
	const missedSQL = `SELECT array_agg('failure/book/' || error_fingerprint) FROM lumin.runs
		WHERE NOT 'failure/book/' || error_fingerprint = ANY ($1::text[])`
	var listed []string
	for _, a := range all.Alerts {
		listed = append(listed, a.Key)
	}
	missed := storetest.Value[[]string](t, s.Pool(), missedSQL, listed)
	storetest.Exec(t, s.Pool(), `INSERT INTO lumin.alerts (key, condition, text) SELECT key, 'failure', 'open' FROM unnest($1::text[]) AS k (key)`, append(missed, "failure/gone/none"))
	storetest.Exec(t, s.Pool(), `UPDATE lumin.runs SET state = 'succeeded' WHERE $1 = 'failure/book/' || error_fingerprint`, missed[1])
	f := finding(t, s.Pool(), alerts.Limits{}, alerts.Failure)
	i := slices.IndexFunc(f.Alerts, func(a alerts.Alert) bool { return a.Key == missed[0] })
	if i < 0 || f.Alerts[i].Text != "open" || !slices.Equal(f.Over, []string{missed[1], "failure/gone/none"}) {
		t.Errorf("%d alerts, the missed one at %d, and over are %q", len(f.Alerts), i, f.Over)
	}
}

func TestBacklog(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Record(t, s, storetest.Delivery(1, "book"))
	want(t, s.Pool(), alerts.Limits{}, alerts.Backlog, "", "the limit 10m")
	storetest.Exec(t, s.Pool(), `UPDATE lumin.river_job SET scheduled_at = now() - interval '11 minutes'`)
	want(t, s.Pool(), alerts.Limits{}, alerts.Backlog, "backlog/default", "has been waiting for a worker for 11m", "No program that runs jobs is running: start one.")
	storetest.Exec(t, s.Pool(), `INSERT INTO lumin.programs (id, host, pid, role, job_kinds) VALUES (gen_random_uuid(), 'h', 1, 'ingest', '{}')`)
	want(t, s.Pool(), alerts.Limits{}, alerts.Backlog, "backlog/default", "start one")
	storetest.Exec(t, s.Pool(), `INSERT INTO lumin.programs (id, host, pid, role, job_kinds) VALUES (gen_random_uuid(), 'h', 2, 'worker', '{}')`)
	want(t, s.Pool(), alerts.Limits{}, alerts.Backlog, "backlog/default", "works the job type book")
	want(t, s.Pool(), alerts.Limits{Backlog: 12 * time.Minute}, alerts.Backlog, "", "is 11m, the limit 12m")
	storetest.Exec(t, s.Pool(), `INSERT INTO lumin.river_queue (name, updated_at, paused_at) VALUES ('default', now(), now())`)
	want(t, s.Pool(), alerts.Limits{}, alerts.Backlog, "backlog/default", "The queue is paused")
	storetest.Exec(t, s.Pool(), `UPDATE lumin.river_job SET state = 'running'`)
	want(t, s.Pool(), alerts.Limits{}, alerts.Backlog, "")
}

// hourly inserts an event of a source in each hour from one time before now to
// another, but for those that lie in a stretch.
func hourly(t *testing.T, pool *pgxpool.Pool, source, from, to, quietFrom, quietTo string) {
	t.Helper()
	storetest.Exec(t, pool, `
		INSERT INTO lumin.events (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at)
		SELECT gen_random_uuid(), $1, 'r', (ARRAY['signature_request_signed', 'signature_request_viewed', NULL])[1 + n % 2], at, '\x00', '\x00', '\x00', 'k', at
		FROM (SELECT n, now() - $2::text::interval + n * interval '1 hour' AS at FROM generate_series(0, 5000) n) s
		WHERE at < now() - $3::text::interval AND NOT (at > now() - $4::text::interval AND at < now() - $5::text::interval)`, source, from, to, quietFrom, quietTo)
}

func TestSilence(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t, pgtest.New(t))
	const never = "0"
	// The quietest stretch has 20 hours: 19 empty steps between two busy ones.
	hourly(t, pool, "account", "40 days", "18 hours", "100 hours", "80 hours")
	want(t, pool, alerts.Limits{}, alerts.Silence, "", "account has been quiet for 19h, which is usual up to 21h")
	hourly(t, pool, "app:loud", "20 days", "5 hours", never, never)
	want(t, pool, alerts.Limits{}, alerts.Silence, "silence/app:loud", "source app:loud has arrived for 6h", "never quiet for longer than 2h")
	hourly(t, pool, "app:new", "10 days", "5 hours", never, never)
	hourly(t, pool, "app:rare", "20 days", "5 hours", "19 days", "6 hours")
	hourly(t, pool, "app:gone", "90 days", "29 days", never, never)
	want(t, pool, alerts.Limits{}, alerts.Silence, "silence/app:loud", "app:new has been known for less than 14d", "app:rare has too few events", "app:gone has had no event for 29d")
	if f := finding(t, pool, alerts.Limits{}, alerts.Silence); !slices.Equal(f.Dropped, []string{"silence/app:gone"}) {
		t.Errorf("dropped are %q", f.Dropped)
	}
	hourly(t, pool, "app:loud", "30 minutes", "0", never, never)
	want(t, pool, alerts.Limits{}, alerts.Silence, "")
}

// A source is still silent when retention has removed the events that said so.
func TestSilenceAfterRetention(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t, pgtest.New(t))
	hourly(t, pool, "account", "20 days", "5 hours", "0", "0")
	look := func(keys string) {
		t.Helper()
		want(t, pool, alerts.Limits{}, alerts.Silence, keys)
		if err := alerts.Store(t.Context(), pool, []alerts.Finding{finding(t, pool, alerts.Limits{}, alerts.Silence)}); err != nil {
			t.Fatal(err)
		}
	}
	look("silence/account")
	storetest.Exec(t, pool, `DELETE FROM lumin.events WHERE received_at < now() - interval '10 days'`)
	look("silence/account")
	storetest.Exec(t, pool, `DELETE FROM lumin.events WHERE received_at < now() - interval '1 day'`)
	look("silence/account")
	storetest.Exec(t, pool, `DELETE FROM lumin.events`)
	look("silence/account")
	hourly(t, pool, "account", "0", "-1 minute", "0", "0")
	look("")
	if got := open(t, pool); got != "silence/account ended" {
		t.Error(got)
	}

	// A source that has gone for four weeks is not watched any more.
	storetest.Exec(t, pool, `DELETE FROM lumin.events`)
	storetest.Exec(t, pool, `UPDATE lumin.alerts SET resolved_at = NULL, resolved_sent_at = NULL, sent_at = now(), since = now() - interval '28 days'`)
	look("")
	if got := open(t, pool); got != "silence/account ended" {
		t.Error(got)
	}
}

// A source with events in every hour is watched more closely.
func TestSilenceOfBusySource(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t, pgtest.New(t))
	storetest.Exec(t, pool, `
		INSERT INTO lumin.events (event_key, source, payload, payload_sha256, signature, key_id, received_at)
		SELECT gen_random_uuid(), 'account', '\x00', '\x00', '\x00', 'k', now() - interval '30 minutes' - n * interval '4 minutes' FROM generate_series(0, 11000) n`)
	want(t, pool, alerts.Limits{}, alerts.Silence, "silence/account", "for 30m", "never quiet for longer than 10m")
}

func TestDownloadable(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t, pgtest.New(t))
	event := func(source, request, what, age string) {
		storetest.Exec(t, pool, `
			INSERT INTO lumin.events (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at)
			VALUES (gen_random_uuid(), $1, $2, 'signature_request_' || $3, now(), '\x00', '\x00', '\x00', 'k', now() - $4::text::interval)`, source, request, what, age)
	}
	event("account", "missing", "approved", "2 hours")
	want(t, pool, alerts.Limits{}, alerts.Downloadable, "") // the source has never reported one
	event("account", "whole", "approved", "2 hours")
	event("app:x", "whole", "downloadable", "2 hours")
	event("account", "older", "downloadable", "9 days")
	event("account", "young", "approved", "50 minutes")
	event("account", "old", "approved", "26 hours")
	event("app:y", "elsewhere", "approved", "2 hours")
	want(t, pool, alerts.Limits{}, alerts.Downloadable, "downloadable/missing", "signature request missing (account) was approved more than an hour ago")

	// An alert that is open stays open, but not for ever.
	storetest.Exec(t, pool, `INSERT INTO lumin.alerts (key, condition, text) VALUES ('downloadable/old', 'downloadable', '')`)
	want(t, pool, alerts.Limits{}, alerts.Downloadable, "downloadable/missing downloadable/old")
	if n, err := alerts.CountUndownloadable(t.Context(), pool); n != 2 || err != nil {
		t.Errorf("%d contracts cannot be downloaded, %v", n, err)
	}
	storetest.Exec(t, pool, `UPDATE lumin.events SET received_at = now() - interval '8 days' WHERE signature_request_id = 'old'`)
	want(t, pool, alerts.Limits{}, alerts.Downloadable, "downloadable/missing")
	if f := finding(t, pool, alerts.Limits{}, alerts.Downloadable); !slices.Equal(f.Dropped, []string{"downloadable/old"}) {
		t.Errorf("dropped are %q", f.Dropped)
	}
	event("account", "missing", "downloadable", "0")
	want(t, pool, alerts.Limits{}, alerts.Downloadable, "")
	if n, err := alerts.CountUndownloadable(t.Context(), pool); n != 0 || err != nil {
		t.Errorf("%d contracts cannot be downloaded, %v", n, err)
	}

	// An open alert is over once the contract can be downloaded, whether or not others
	// cannot. If its events are gone, it is not known.
	event("account", "now", "downloadable", "0")
	storetest.Exec(t, pool, `INSERT INTO lumin.alerts (key, condition, text) VALUES ('downloadable/now', 'downloadable', ''), ('downloadable/removed', 'downloadable', '')`)
	for n := range 30 {
		event("account", fmt.Sprintf("m%02d", n), "approved", fmt.Sprintf("%d minutes", 70+n))
	}
	if f := finding(t, pool, alerts.Limits{}, alerts.Downloadable); len(f.Alerts) != 20 || !f.Partly || f.Alerts[0].Key != "downloadable/m00" {
		t.Errorf("of 30: %d, partly %v, %+v", len(f.Alerts), f.Partly, f.Alerts[0])
	} else if !slices.Equal(f.Over, []string{"downloadable/now"}) || !slices.Equal(f.Dropped, []string{"downloadable/old", "downloadable/removed"}) {
		t.Errorf("over are %q, dropped %q", f.Over, f.Dropped)
	}
}

func TestLanes(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Register(t, s, "book")
	storetest.Exec(t, s.Pool(), `UPDATE lumin.job_types SET when_failed = 'hold'`)
	storetest.Record(t, s, storetest.Delivery(1, "book"))
	storetest.FailAll(t, s)
	want(t, s.Pool(), alerts.Limits{}, alerts.Lane, "")
	storetest.Exec(t, s.Pool(), `UPDATE lumin.runs SET finished_at = now() - interval '6 minutes'`)
	want(t, s.Pool(), alerts.Limits{}, alerts.Lane, "lane/book", "lanes: 1, the oldest held for 6m")
}

func TestLate(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	pool := s.Pool()
	d := storetest.Delivery(1)
	d.Late = true
	storetest.Record(t, s, storetest.Delivery(2), d)
	want(t, pool, alerts.Limits{}, alerts.Late, "", "no late event waits") // no job type subscribes
	storetest.Exec(t, pool, `INSERT INTO lumin.job_types (kind, events, sources, transactional, queue) VALUES ('book', '{}', '{}', true, 'default')`)
	want(t, pool, alerts.Limits{}, alerts.Late, "late", "no job type has run: 1. Replay or dismiss them.")
	storetest.Exec(t, pool, `INSERT INTO lumin.runs (event_key, job_kind, event_id, job_id) SELECT event_key, 'book', id, 1 FROM lumin.events WHERE late`)
	want(t, pool, alerts.Limits{}, alerts.Late, "", "no late event waits")
}

func TestHousekeeping(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t, pgtest.New(t))
	want(t, pool, alerts.Limits{}, alerts.Housekeeping, "", "no program works jobs")
	program := func(role, age string) {
		storetest.Exec(t, pool, `INSERT INTO lumin.programs (id, host, pid, role, job_kinds, started_at) VALUES (gen_random_uuid(), 'h', 1, $1, '{}', now() - $2::text::interval)`, role, age)
	}
	job := func(kind, state, age, message, metadata string) {
		storetest.Exec(t, pool, `
			INSERT INTO lumin.river_job (args, kind, max_attempts, state, attempted_at, finalized_at, errors, metadata)
			SELECT '{}', $1, 1, $2::text::lumin.river_job_state, now() - $3::text::interval,
			       CASE WHEN $2 IN ('completed', 'discarded') THEN now() - $3::text::interval END,
			       CASE WHEN $4 <> '' THEN ARRAY[jsonb_build_object('error', $4::text)] END, $5::text::jsonb`, kind, state, age, message, metadata)
	}
	const (
		all    = "housekeeping/lumin_erase housekeeping/lumin_retain housekeeping/lumin_sweep"
		sliced = `{"snoozes": 3}`
	)
	program("ingest", "1 day")
	want(t, pool, alerts.Limits{}, alerts.Housekeeping, "", "no program works jobs")
	program("worker", "14 minutes")
	want(t, pool, alerts.Limits{}, alerts.Housekeeping, "", "run")
	storetest.Exec(t, pool, `UPDATE lumin.programs SET started_at = now() - interval '1 day'`)
	want(t, pool, alerts.Limits{}, alerts.Housekeeping, all, "no error is known")

	// A job that hangs until its timeout, one after another, and those that were left
	// to it.
	for _, kind := range []string{"lumin_sweep", "lumin_erase", "lumin_retain"} {
		job(kind, "discarded", "1 minute", "permission denied", "{}")
		job(kind, "running", "5 seconds", "", "{}")
		job(kind, "completed", "5 seconds", "", `{"left_to_another": true}`)
		job(kind, "completed", "5 seconds", "", `{"snoozes": 1, "left_to_another": true}`)
	}
	want(t, pool, alerts.Limits{}, alerts.Housekeeping, all, "last error: permission denied")

	job("lumin_sweep", "completed", "14 minutes", "", "{}")
	job("lumin_erase", "completed", "14 minutes", "", "{}")
	for _, between := range []string{"available", "scheduled", "running"} { // between two slices, and during a later one
		storetest.Exec(t, pool, `DELETE FROM lumin.river_job WHERE metadata = $1`, sliced)
		job("lumin_retain", between, "100 minutes", "", sliced)
		want(t, pool, alerts.Limits{}, alerts.Housekeeping, "")
	}
	storetest.Exec(t, pool, `UPDATE lumin.river_job SET attempted_at = now() - interval '1 day', finalized_at = finalized_at - interval '1 hour' WHERE kind <> 'lumin_erase'`)
	want(t, pool, alerts.Limits{}, alerts.Housekeeping, "housekeeping/lumin_retain housekeeping/lumin_sweep", "has not succeeded for 74m (last error: permission denied)")
}

func TestWorkers(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t, pgtest.New(t))
	storetest.Exec(t, pool, `INSERT INTO lumin.programs (id, host, pid, role, job_kinds, stuck) VALUES
		(gen_random_uuid(), 'h', 7, 'worker', '{}', '{"queue slow: all of its workers (2) are held by jobs that ignore their timeout (book: 2)"}'),
		(gen_random_uuid(), 'h', 8, 'worker', '{}', '{}')`)
	want(t, pool, alerts.Limits{}, alerts.Workers, "workers/h/7", "queue slow: all of its workers", "Restart that program")
	storetest.Exec(t, pool, `UPDATE lumin.programs SET last_seen = now() - interval '2 minutes'`)
	want(t, pool, alerts.Limits{}, alerts.Workers, "")
}

func TestDatabaseSize(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t, pgtest.New(t))
	want(t, pool, alerts.Limits{}, alerts.DatabaseSize, "", "ALERT_DATABASE_SIZE is not set")
	want(t, pool, alerts.Limits{DatabaseSize: 1 << 20}, alerts.DatabaseSize, "database_size", "of 1MiB in ALERT_DATABASE_SIZE")
	want(t, pool, alerts.Limits{DatabaseSize: 1 << 40}, alerts.DatabaseSize, "", "of 1TiB")
}
