package lanes_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/lanes"
)

// The statements read the parked and the failed runs, and look up the rest by
// index.
func TestPlans(t *testing.T) {
	t.Parallel()
	conn := pgtest.Conn(t, pgtest.New(t))
	storetest.Exec(t, conn, `
		INSERT INTO lumin.job_types (kind, events, sources, transactional, queue, when_failed) VALUES ('book', '{}', '{}', true, 'default', 'hold');
		WITH e AS (
		    INSERT INTO lumin.events (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at)
		    SELECT md5(n::text)::uuid, 'account', 'request-' || n / 4, 'signature_request_signed', now() + make_interval(secs => n), '\x00', '\x00', '\x00', 'k', now()
		    FROM generate_series(1, 100000) n RETURNING *
		), j AS (
		    INSERT INTO lumin.river_job (id, args, kind, max_attempts, state, finalized_at) SELECT id, '{}', 'book', 3, 'completed', now() FROM e
		)
		INSERT INTO lumin.runs (event_key, job_kind, event_id, job_id, state, finished_at, pending_since)
		SELECT event_key, 'book', id, id, s.state, CASE WHEN s.state <> 'parked' THEN now() END, now()
		FROM e CROSS JOIN LATERAL (SELECT CASE WHEN id % 1000 = 4 THEN 'failed' WHEN id % 1000 IN (5, 6, 7) THEN 'parked' ELSE 'succeeded' END) s (state);
		ANALYZE`)
	for name, q := range map[string]struct{ sql, args string }{
		"list":                      {lanes.ListSQL, `'{}', '', false, 50`},
		"list held":                 {lanes.ListSQL, `'{}', '', true, 50`},
		"list of signature request": {lanes.ListSQL, `'{}', 'request-1', false, 50`},
		"find":                      {lanes.FindSQL, `'book', 'request-1'`},
		"count held":                {lanes.HeldSQL, `10000`},
	} {
		t.Run(name, func(t *testing.T) {
			storetest.Exec(t, conn, `SET plan_cache_mode = force_custom_plan; PREPARE q AS `+q.sql)
			defer storetest.Exec(t, conn, `DEALLOCATE q`)
			rows, err := conn.Query(t.Context(), `EXPLAIN (ANALYZE, TIMING OFF) EXECUTE q(`+q.args+`)`, pgx.QueryExecModeSimpleProtocol)
			if err != nil {
				t.Fatal(err)
			}
			lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				t.Fatal(err)
			}
			plan := strings.Join(lines, "\n")
			if storetest.ReadsAll.MatchString(plan) {
				t.Errorf("reads a whole table:\n%s", plan)
			}
			for _, line := range storetest.RemovedRows.FindAllStringSubmatch(plan, -1) {
				if len(line[1]) > 2 {
					t.Errorf("reads %s rows and discards them:\n%s", line[1], plan)
				}
			}
		})
	}
}
