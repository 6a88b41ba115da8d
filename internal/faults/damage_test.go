//go:build unix

package faults

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgtest"
)

// correctSQL fills a database as a run of two signature requests leaves it: one
// with three events, and one with an event that both sources have reported. Each
// delivery was sent twice, and acknowledged long before its event was worked.
const correctSQL = schemaSQL + `
INSERT INTO faults.kinds VALUES ('` + EffectKind + `', true, false), ('` + BatchKind + `', true, false),
    ('` + OrderedKind + `', true, false), ('` + CallKind + `', false, true), ('` + stateKind + `', false, false);
CREATE TEMP TABLE sent AS
SELECT format('00000000-0000-8000-8000-%s', lpad(n::text, 12, '0'))::uuid AS event_key, request, event_type, source, n,
       '2026-01-01Z'::timestamptz + n * interval '1 s' AS at, convert_to(format('{"n":%s}', n), 'UTF8') AS body
FROM (VALUES (1, 'a', 'signature_request_signed', '{account}'::text[]), (2, 'a', 'signature_request_approved', '{account}'),
             (3, 'a', 'signature_request_signed', '{app:demo}'), (4, 'b', 'signature_request_declined', '{account,app:demo}')
     ) AS e (n, request, event_type, sources)
CROSS JOIN LATERAL unnest(sources) AS s (source);
INSERT INTO lumin.events (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at)
SELECT event_key, source, request, event_type, at, body, sha256(body), '', 'k', at FROM sent ORDER BY n, source;
INSERT INTO lumin.redeliveries (event_id, payload_sha256, differs, count, first_at, last_at)
SELECT id, payload_sha256, 'nothing', 1, received_at, received_at FROM lumin.events WHERE source = 'app:demo';
INSERT INTO lumin.runs (event_key, job_kind, event_id, state, finished_at)
SELECT event_key, kind, min(id), 'succeeded', now() FROM lumin.events CROSS JOIN faults.kinds GROUP BY 1, 2;
INSERT INTO lumin.signature_requests (signature_request_id, status, last_event_type, last_event_time)
SELECT request, status, event_type, at
FROM sent JOIN (VALUES (3, 'APPROVED'), (4, 'REJECTED')) AS latest (n, status) USING (n) GROUP BY 1, 2, 3, 4;
INSERT INTO faults.ledger (event_key, source, payload_sha256, forged, acks, attempts, event_id, acked_at)
SELECT event_key, source, payload_sha256, false, 2, 2, id, event_time FROM lumin.events;
INSERT INTO faults.effects (event_key, job_kind, rerun, tx_began, began, at)
SELECT event_key, kind, 0, at, at, at + interval '10 ms'
FROM (SELECT DISTINCT event_key, '2026-01-02Z'::timestamptz + n * interval '1 s' AS at FROM sent) e CROSS JOIN faults.kinds WHERE effects;
INSERT INTO faults.calls SELECT DISTINCT event_key, '` + CallKind + `', 0, 1 FROM sent;
INSERT INTO lumin.replays (status, reason, state, finished_at) VALUES ('failed', 'faults', 'done', now())`

func correctDatabase(t *testing.T) *pgx.Conn {
	t.Helper()
	conn := pgtest.Conn(t, pgtest.New(t))
	if _, err := conn.Exec(t.Context(), correctSQL); err != nil {
		t.Fatal(err)
	}
	violations, err := Check(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range violations {
		t.Fatalf("a correct database violates %s", v)
	}
	return conn
}

func TestFalsify(t *testing.T) {
	t.Parallel()
	count, err := Falsify(t.Context(), correctDatabase(t))
	if err != nil || count != len(damages) {
		t.Errorf("%d falsifications: %v", count, err)
	}
}

// No checker can be left out: each alone notices some damage.
func TestEachCheckerIsNeeded(t *testing.T) {
	t.Parallel()
	conn := correctDatabase(t)
	alone := map[string]bool{
		LiveJob: true, // AllDone always notices as well that a run is pending; LiveJob says why
	}
	for _, d := range damages {
		if noticed := noticedBy(t, conn, d); len(noticed) == 1 {
			alone[noticed[0]] = true
		}
	}
	for _, c := range checkers {
		if !alone[c.Name] {
			t.Errorf("whatever violates %q also violates another invariant", c.Name)
		}
	}
}

// noticedBy returns the names of the checkers that notice a damage.
func noticedBy(t *testing.T, conn *pgx.Conn, d damage) (names []string) {
	t.Helper()
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := tx.Exec(t.Context(), d.sql); err != nil {
		t.Fatalf("%s: %v", d.what, err)
	}
	violations, err := Check(t.Context(), tx)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range violations {
		names = append(names, v.Checker)
	}
	return names
}
