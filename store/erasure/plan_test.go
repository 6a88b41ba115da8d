package erasure_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store"
	"lumin-ingest/store/erasure"
	"lumin-ingest/store/internal/storetest"
)

func TestEraseRefused(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Record(t, s, storetest.Delivery(1))
	for what, subject := range map[string]erasure.Subject{
		"nothing":     {},
		"both":        {SignatureRequestIDs: []string{"request-1"}, Email: "a@example.com"},
		"an empty id": {SignatureRequestIDs: []string{""}},
		"a name":      {Email: "Zyzzyva"},
		"no domain":   {Email: "zyzzyva@"},
		"two at once": {Email: "a@example.com b@example.com"},
	} {
		if _, err := erasure.NewPlan(t.Context(), s.Pool(), subject); err == nil || strings.Contains(err.Error(), "yzzyva") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := erasure.NewPlan(t.Context(), s.Pool(), erasure.Subject{SignatureRequestIDs: []string{"request-1", "request-2"}}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("unknown: %v", err)
	}
}

// An erasure reads neither River's table nor another large one, not even if its
// plans were made while the tables were empty.
func TestPlansOfErasure(t *testing.T) {
	t.Parallel()
	conn := pgtest.Conn(t, pgtest.New(t))
	storetest.Exec(t, conn, `SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan`)
	storetest.Exec(t, conn, `PREPARE locks AS `+erasure.LockSQL)
	storetest.Exec(t, conn, `PREPARE running AS `+erasure.JobRunningSQL)
	const keys = `ARRAY[md5('500')::uuid, md5('501')::uuid]`
	queries := []string{
		`EXECUTE locks (ARRAY[500, 501], ` + keys + `, ARRAY['request-500', 'request-501'])`,
		`EXECUTE running (` + keys + `)`,
	}
	for _, query := range queries {
		storetest.Exec(t, conn, query)
	}
	storetest.Fill(t, conn, 1, 20_000)
	storetest.Exec(t, conn, `UPDATE lumin.river_job SET state = 'running' WHERE id % 4000 = 0`)
	for _, when := range []string{"made for empty tables", "made for full tables"} {
		for _, query := range queries {
			rows, err := conn.Query(t.Context(), `EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF) `+query, pgx.QueryExecModeSimpleProtocol)
			if err != nil {
				t.Fatal(err)
			}
			lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				t.Fatal(err)
			}
			plan := strings.Join(lines, "\n")
			if storetest.ReadsAll.MatchString(plan) {
				t.Errorf("%s: reads a whole table:\n%s", when, plan)
			}
			for _, removed := range storetest.RemovedRows.FindAllStringSubmatch(plan, -1) {
				if len(removed[1]) > 1 {
					t.Errorf("%s: looks at %s rows too many:\n%s", when, removed[1], plan)
				}
			}
		}
		storetest.Exec(t, conn, `ANALYZE lumin.events, lumin.runs, lumin.river_job, lumin.redeliveries, lumin.failures`)
	}
}
