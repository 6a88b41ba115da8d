package manual

import (
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/migrations"
)

// fillSQL inserts the data for the statements of docs/sql.md: events of 400
// days. A few of them are unrecognized, failed or pending.
const fillSQL = `
INSERT INTO lumin.job_types (kind, events, sources, transactional, queue) VALUES ('book_revenue', '{}', '{}', true, 'default');
WITH e AS (
    INSERT INTO lumin.events (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at)
    SELECT md5(n::text)::uuid, 'account',
           CASE WHEN n = 1 THEN 'fa5c8a0b0f492d768749333ad6fcc214c111e967' WHEN n % 500 > 0 THEN 'request-' || n END,
           CASE WHEN n % 500 > 0 THEN 'signature_request_signed' END, CASE WHEN n % 500 > 0 THEN now() END,
           convert_to('{"signature_request":{"status":"APPROVED","filler":"' || repeat('x', 500) || '"}}', 'UTF8'), '\x00', '\x00', '0011223344556677',
           now() - n * interval '400 days' / 20000
    FROM generate_series(1, 20000) n RETURNING *
), r AS (
    INSERT INTO lumin.runs (event_key, job_kind, event_id, state, error, replay_id, finished_at)
    SELECT event_key, 'book_revenue', id, CASE id % 100 WHEN 1 THEN 'failed' WHEN 2 THEN 'pending' ELSE 'succeeded' END,
           CASE WHEN id % 100 < 3 THEN 'no invoice ' || id END, (id % 200 = 3)::int, CASE WHEN id % 100 <> 2 THEN now() END
    FROM e WHERE signature_request_id IS NOT NULL RETURNING *
), f AS (
    INSERT INTO lumin.failures (event_key, job_kind, replay_id, state, attempts, errors)
    SELECT event_key, job_kind, 0, 'failed', 3, ARRAY['{"error": "no invoice"}'::jsonb] FROM r WHERE state = 'failed'
), d AS (
    INSERT INTO lumin.redeliveries (event_id, payload_sha256, differs, count, first_at, last_at)
    SELECT id, '\x00', CASE WHEN id % 300 = 1 THEN 'content' ELSE 'nothing' END, 1, now(), now() FROM e WHERE id % 3 = 1
), s AS (
    INSERT INTO lumin.signature_requests (signature_request_id, status, last_event_time)
    SELECT signature_request_id, CASE id % 50 WHEN 1 THEN 'REJECTED' ELSE 'APPROVED' END, received_at FROM e WHERE signature_request_id IS NOT NULL
)
INSERT INTO lumin.river_job (args, kind, max_attempts, attempt, state, scheduled_at, errors, finalized_at)
SELECT jsonb_build_object('event_key', event_key::text, 'replay_id', replay_id), job_kind, 3, 1,
       CASE state WHEN 'pending' THEN 'retryable' WHEN 'failed' THEN 'discarded' ELSE 'completed' END::lumin.river_job_state, now() + interval '1 hour',
       ARRAY[jsonb_build_object('error', error)], finished_at
FROM r;
INSERT INTO lumin.replays (job_kinds, state) VALUES ('{book_revenue}', 'running');
INSERT INTO lumin.erasures (subject, signature_request_ids, event_ids, last_event_id, reason) VALUES ('signature_request', '{request-5}', '{}', 5, 'asked for');
INSERT INTO lumin.programs (id, host, pid, role, job_kinds) VALUES (gen_random_uuid(), 'host', 1, 'all', '{book_revenue}');
INSERT INTO lumin.other_kinds (kind, purpose, queue) VALUES ('send_welcome', 'follow_up', 'default');
INSERT INTO lumin.river_job (args, kind, max_attempts, attempt, state, errors, finalized_at)
VALUES ('{"customer_id": 1}', 'send_welcome', 3, 3, 'discarded', ARRAY['{"error": "mail answered 500"}'::jsonb], now());
INSERT INTO lumin.job_types (kind, events, sources, transactional, queue, when_failed) VALUES ('number_steps', '{}', '{}', true, 'default', 'hold');
INSERT INTO lumin.runs (event_key, job_kind, event_id, state) SELECT event_key, 'number_steps', id, 'parked' FROM lumin.events WHERE id = 3;
DELETE FROM lumin.runs WHERE event_id = 99;
UPDATE lumin.runs SET rerun = 1 WHERE event_id = 101;
UPDATE lumin.events SET late = true WHERE id BETWEEN 105 AND 110;
DELETE FROM lumin.runs WHERE event_id = 105;
UPDATE lumin.events SET source = 'recovered', signature = '', key_id = '' WHERE id = 112;
UPDATE lumin.redeliveries SET differs = 'recovered', source = 'account' WHERE event_id = 112;
UPDATE lumin.redeliveries SET payload = '{}', signature = '\x00', key_id = 'k', promoted_key = gen_random_uuid() WHERE event_id = 301;
SELECT lumin.dismiss_failure(event_key, job_kind, 'test data') FROM lumin.failed_runs WHERE event_id BETWEEN 200 AND 1000;
INSERT INTO lumin.delivery_hours (hour, source, result, reason, deliveries, seconds, times) VALUES (date_trunc('hour', now()), 'account', 'recorded', '', 1, 0.004, '{0,0,1}');
INSERT INTO lumin.attempt_hours (hour, kind, outcome, attempts, work_seconds, work_times, effect_seconds, effect_times) VALUES (date_trunc('hour', now()), 'book_revenue', 'retried', 1, 0.004, '{0,0,1}', 0, '{}');
INSERT INTO lumin.backlog_minutes (minute, oldest_pending_seconds) VALUES (date_trunc('minute', now()), 1000);
ANALYZE`

// seqScan matches a plan that reads a whole table with a row per event.
var seqScan = regexp.MustCompile(`Seq Scan on (?:lumin\.)?(?:events|runs|redeliveries|signature_requests|river_job)\b`)

// needsAdmin matches a statement that changes something or reads a body.
var needsAdmin = regexp.MustCompile(`^UPDATE|\blumin\.(dismiss|restore|retry|promote|replay|erase)\w*\(|\(payload`)

// Each statement of docs/sql.md finds rows in a filled database, with the rights
// of lumin_read if they are enough. It reads a whole table only if its first
// line says so.
func TestCookbook(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	pgtest.Exec(t, pgtest.Conn(t, url), fillSQL)
	pgtest.UseRoles(t, url)
	admin, reader := pgtest.Conn(t, pgtest.Login(t, url, migrations.Admin)), pgtest.Conn(t, pgtest.Login(t, url, migrations.Read))
	var recipes []block
	for _, b := range blocks(t, "docs/sql.md") {
		if b.language == "sql" {
			recipes = append(recipes, b)
		}
	}
	if len(recipes) < 20 {
		t.Fatalf("only %d recipes", len(recipes))
	}
	for _, b := range recipes {
		conn := reader
		if needsAdmin.MatchString(b.text) {
			conn = admin
		}
		plan := strings.Join(tryQuery(t, conn, b, "EXPLAIN "+b.text), "\n")
		if !strings.HasPrefix(b.text, "-- reads the whole table\n") && seqScan.MatchString(plan) {
			t.Errorf("%v reads a whole table without saying so:\n%s", b, plan)
		}
		text := strings.TrimRight(strings.TrimSpace(b.text), ";")
		if strings.HasPrefix(text, "UPDATE") {
			text += " RETURNING id"
		}
		if len(tryQuery(t, conn, b, text)) == 0 {
			t.Errorf("%v finds nothing", b)
		}
	}
}

// tryQuery returns the first column of the result of a statement, which runs in
// a transaction that is rolled back.
func tryQuery(t *testing.T, conn *pgx.Conn, b block, sql string) []string {
	t.Helper()
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	rows, err := tx.Query(t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatalf("%v: %v", b, err)
	}
	var first []string
	for rows.Next() {
		first = append(first, string(rows.RawValues()[0]))
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%v: %v", b, err)
	}
	return first
}
