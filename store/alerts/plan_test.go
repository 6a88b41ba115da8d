package alerts

import (
	"strings"
	"testing"
	"time"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store/internal/storetest"
)

// No statement reads a large table, whether its plan was made when the table was
// small or not.
func TestPlans(t *testing.T) {
	t.Parallel()
	pool := pgtest.PoolOf(t, pgtest.New(t), 1)
	storetest.Fill(t, pool, 1, 20_000)
	storetest.Exec(t, pool, `INSERT INTO lumin.alerts (key, condition, text) VALUES ('downloadable/request-1', 'downloadable', '')`)
	storetest.Exec(t, pool, `UPDATE lumin.events SET event_type = 'signature_request_approved' WHERE id % 3 = 0`)
	for _, analyzed := range []bool{false, true} {
		if analyzed {
			storetest.Exec(t, pool, `ANALYZE`)
		}
		for name, q := range map[string]struct {
			sql  string
			args []any
		}{
			"busy":         {busySQL, []any{"account", time.Now().Add(-learnFrom), 3600.0, 672}},
			"backlog":      {backlogSQL, nil},
			"downloadable": {downloadableSQL, []any{[]string{"account"}, approvedLimit, "downloadable/"}},
			"downloaded":   {downloadedSQL, []any{[]string{}, "downloadable/"}},
			"refusals":     {refusalsSQL, []any{[]string{"account"}}},
			"housekeeping": {housekeepingSQL, []any{"lumin_sweep"}},
		} {
			rows, err := pool.Query(t.Context(), "EXPLAIN "+q.sql, q.args...)
			if err != nil {
				t.Fatal(name, err)
			}
			var plan strings.Builder
			for rows.Next() {
				var line string
				if err := rows.Scan(&line); err != nil {
					t.Fatal(name, err)
				}
				plan.WriteString(line + "\n")
			}
			if err := rows.Err(); err != nil {
				t.Fatal(name, err)
			}
			if storetest.ReadsAll.MatchString(plan.String()) {
				t.Errorf("%s, analyzed %v:\n%s", name, analyzed, &plan)
			}
		}
	}
}
