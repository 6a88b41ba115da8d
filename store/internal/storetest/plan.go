package storetest

import (
	"regexp"
	"testing"
)

// Fill inserts the events from one number to another, each with a run, a job, a
// redelivery and a signature request.
func Fill(tb testing.TB, db Querier, from, to int) {
	tb.Helper()
	Exec(tb, db, `
		WITH e AS (
		    INSERT INTO lumin.events (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at)
		    SELECT md5(n::text)::uuid, 'account', 'request-' || n, 'signature_request_signed', now(), convert_to(repeat('x', 300), 'UTF8'), '\x00', '\x00', 'k', now()
		    FROM generate_series($1::int, $2::int) n RETURNING *
		), r AS (
		    INSERT INTO lumin.runs (event_key, job_kind, event_id, job_id, state, finished_at, pending_since)
		    SELECT event_key, 'book', id, nextval('lumin.river_job_id_seq'), CASE WHEN id % 50 = 0 THEN 'pending' WHEN id % 10 = 1 THEN 'failed' ELSE 'succeeded' END,
		           CASE WHEN id % 50 = 0 THEN NULL ELSE now() END, now() - interval '1 hour' - interval '1 ms' * id
		    FROM e RETURNING *
		), d AS (
		    INSERT INTO lumin.redeliveries (event_id, payload_sha256, differs, count, first_at, last_at)
		    SELECT id, '\x00', 'nothing', 1, now(), now() FROM e
		), s AS (
		    INSERT INTO lumin.signature_requests (signature_request_id) SELECT signature_request_id FROM e
		)
		INSERT INTO lumin.river_job (id, args, kind, max_attempts, state, finalized_at)
		SELECT job_id, jsonb_build_object('event_key', event_key::text, 'replay_id', 0), 'book', 3,
		       CASE state WHEN 'pending' THEN 'available' WHEN 'failed' THEN 'discarded' ELSE 'completed' END::lumin.river_job_state, finished_at
		FROM r`, from, to)
}

// ReadsAll matches a plan that reads the whole of a large table.
var ReadsAll = regexp.MustCompile(`Seq Scan on (lumin\.)?(events|runs|redeliveries|signature_requests|river_job)\b`)

// RemovedRows finds in a plan how many rows a filter has removed.
var RemovedRows = regexp.MustCompile(`Rows Removed by (?:Join )?Filter: (\d+)`)
