package store_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store"
	"lumin-ingest/store/catalog"
	"lumin-ingest/store/internal/storetest"
)

func setJob(tb testing.TB, s *store.Store, d store.Delivery, assignments string) {
	tb.Helper()
	exec(tb, s.Pool(), `UPDATE lumin.river_job SET `+assignments+` WHERE args ->> 'event_key' = $1`, d.Envelope.Key().String())
}

// Every status that an event can have with a job type.
func TestEventStatus(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	if _, err := catalog.AddJobTypes(t.Context(), s.Pool(), []catalog.JobType{
		{Kind: "book", Queue: "default"},
		{Kind: "late", Events: []string{"signature_request_signed"}, Queue: "default"},
		{Kind: "crm", Sources: []string{"app:crm"}, Queue: "default"},
		{Kind: "approvals", Events: []string{"signature_request_approved"}, Queue: "default"},
	}); err != nil {
		t.Fatal(err)
	}
	queued, running, first, retrying, done, failed, cancelled, older := delivery(1, "book"), delivery(2, "book"), delivery(3, "book"), delivery(4, "book"), delivery(5, "book"), delivery(6, "book"), delivery(7, "unregistered"), delivery(8, "book")
	recordAll(t, s, queued, running, first, retrying, done, failed, cancelled, older)
	setJob(t, s, running, `state = 'running', attempt = 2`)
	exec(t, s.Pool(), `UPDATE lumin.runs r SET job_id = j.id, attempts = 1, error = 'once' FROM lumin.river_job j WHERE j.args ->> 'event_key' = r.event_key::text AND r.event_key = $1`, [16]byte(running.Envelope.Key()))
	setJob(t, s, first, `state = 'running', attempt = 1`)
	setJob(t, s, retrying, `state = 'retryable', attempt = 1, scheduled_at = now() + interval '1 hour'`)
	if _, err := claim(t, s, attempt(done, "book", 0)); err != nil {
		t.Fatal(err)
	}
	setJob(t, s, failed, `state = 'discarded', attempt = 3, finalized_at = now(), errors = ARRAY['{"error": "gone"}'::jsonb]`)
	setJob(t, s, cancelled, `state = 'cancelled', attempt = 0, finalized_at = now()`)

	// A program of the version before this one replays a failed run.
	exec(t, s.Pool(), `UPDATE lumin.runs SET job_id = NULL, attempts = 3, error = 'gone' WHERE event_key = $1`, older.Key())

	for _, c := range []struct {
		d    store.Delivery
		kind string
		want string // status, attempts, next attempt, error
	}{
		{queued, "book", "queued 0 f "},
		{running, "book", "running 2 f once"},
		{first, "book", "running 1 f "},
		{retrying, "book", "retrying 1 t "},
		{done, "book", "succeeded 1 f "},
		{failed, "book", "failed 3 f gone"},
		{cancelled, "unregistered", "cancelled 0 f "},
		{older, "book", "queued 0 f gone"},
		{queued, "late", "missing f "},
		{queued, "crm", "not_subscribed f "},
		{queued, "approvals", "not_subscribed f "},
	} {
		got := value[string](t, s.Pool(), `
			SELECT concat_ws(' ', status, attempts, coalesce(next_attempt_at > now() + interval '50 minutes', false), coalesce(error, ''))
			FROM lumin.event_status WHERE event_key = $1 AND job_kind = $2`, [16]byte(c.d.Envelope.Key()), c.kind)
		if got != c.want {
			t.Errorf("%s of %s: %q, want %q", c.kind, c.d.Envelope.SignatureRequestID, got, c.want)
		}
	}

	if got := value[string](t, s.Pool(), `SELECT concat_ws(' ', job_kind, attempts, error, signature_request_id) FROM lumin.failed_runs`); got != "book 3 gone request-6" {
		t.Errorf("failed_runs: %q", got)
	}
	if got := value[string](t, s.Pool(), `SELECT concat_ws(' ', queue, queued, running, waiting, registered) FROM lumin.queue_health WHERE job_kind = 'book'`); got != "default 3 2 1 t" {
		t.Errorf("queue_health: %q", got) // the job of done is not completed yet
	}
	setJob(t, s, cancelled, `state = 'available', finalized_at = NULL`)
	if value[bool](t, s.Pool(), `SELECT registered FROM lumin.queue_health WHERE job_kind = 'unregistered'`) {
		t.Error("queue_health shows an unregistered kind as registered")
	}
}

func TestConflicts(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	recordAll(t, s, delivery(1), delivery(2))
	recordAll(t, s, variant(1, "https://example.com/?token=2", "title"), variant(2, "https://example.com/?token=1", "another title"))
	got := value[string](t, s.Pool(), `
		SELECT string_agg(concat_ws(' ', signature_request_id, count, strpos(convert_from(first_payload, 'UTF8'), 'another') > 0,
		                            strpos(convert_from(other_payload, 'UTF8'), 'another') > 0), ', ') FROM lumin.conflicts`)
	if got != "request-2 1 f t" {
		t.Errorf("conflicts: %q", got)
	}
}

// Queries of people for one event or signature request read no whole table.
func TestViewPlans(t *testing.T) {
	t.Parallel()
	conn := pgtest.Conn(t, pgtest.New(t))
	storetest.Fill(t, conn, 1, 20000)
	exec(t, conn, analyzeSQL)
	exec(t, conn, `INSERT INTO lumin.job_types (kind, events, sources, transactional, queue) VALUES ('book', '{}', '{}', true, 'default'), ('late', '{}', '{}', true, 'default')`)
	for _, query := range []string{
		`SELECT * FROM lumin.event_status WHERE event_id = 500`,
		`SELECT * FROM lumin.event_status WHERE signature_request_id = 'request-500'`,
		`SELECT * FROM lumin.event_status WHERE event_key = (SELECT event_key FROM lumin.events WHERE id = 500)`,
		`SELECT * FROM lumin.failed_runs WHERE event_key = md5('501')::uuid`,
		`SELECT * FROM lumin.conflicts WHERE event_id = 500`,
	} {
		if plan := explain(t, conn, query); storetest.ReadsAll.MatchString(plan) {
			t.Errorf("%s reads a whole table:\n%s", query, plan)
		}
	}
	var rows int
	if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM lumin.event_status WHERE event_id = 500`, pgx.QueryExecModeSimpleProtocol).Scan(&rows); err != nil || rows != 2 {
		t.Errorf("%d rows, %v; want one for each job type", rows, err)
	}
}
