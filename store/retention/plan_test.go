package retention_test

import (
	"fmt"
	"testing"
	"time"

	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/retention"
)

// An estimated plan says that it is one, and is near the truth. A small database
// is counted exactly.
func TestEstimatedPlan(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Fill(t, s.Pool(), 1, 20_000)
	for _, sql := range []string{
		`INSERT INTO lumin.events (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at)
		 SELECT event_key, 'app:crm', signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at FROM lumin.events`,
		`UPDATE lumin.events SET received_at = now() - CASE WHEN length(signature_request_id) % 2 = 0 THEN interval '200 days' ELSE interval '500 days' END`,
		`VACUUM FULL lumin.events`,
		`ANALYZE lumin.events`,
	} {
		storetest.Exec(t, s.Pool(), sql)
	}
	policy, now := retention.Policy{Payloads: 90 * day, Events: 400 * day}, time.Now()
	exact, err := retention.Plan(t.Context(), s.Pool(), policy, now)
	if err != nil || !exact.Exact || exact.MayMiss != 0 || min(exact.Payloads, exact.Events, exact.Runs, exact.Redeliveries, exact.Kept) == 0 {
		t.Fatalf("%+v, %v", exact, err)
	}
	if quick, err := retention.QuickPlan(t.Context(), s.Pool(), policy, now); err != nil || quick != exact {
		t.Errorf("quickly %+v, %v, exactly %+v", quick, err, exact)
	}
	estimated, err := retention.EstimatedPlan(t.Context(), s.Pool(), policy, now)
	if err != nil || estimated.Exact || estimated.MayMiss == 0 {
		t.Fatalf("%+v, %v", estimated, err)
	}
	for name, n := range map[string][2]int64{
		"bodies": {estimated.Payloads, exact.Payloads}, "events": {estimated.Events, exact.Events}, "runs": {estimated.Runs, exact.Runs},
		"redeliveries": {estimated.Redeliveries, exact.Redeliveries}, "events kept": {estimated.Kept, exact.Kept},
	} {
		if n[0] < n[1]*2/5 || n[0] > n[1]*8/5 {
			t.Errorf("estimated %d %s, want about %d", n[0], name, n[1])
		}
	}
}

// RemovesMore finds a body or an event that only the stricter policy removes.
func TestRemovesMore(t *testing.T) {
	t.Parallel()
	strict, loose := retention.Policy{Payloads: 10 * day, Events: 20 * day}, retention.Policy{Payloads: 30 * day, Events: 30 * day}
	for name, c := range map[string]struct {
		sql  string
		want bool
	}{
		"nothing":                {`SELECT`, false},
		"young":                  {agedEventSQL(5, "''", "NULL"), false},
		"old":                    {agedEventSQL(40, "''", "NULL"), false},
		"a body":                 {agedEventSQL(15, "''", "NULL"), true},
		"a body that is removed": {agedEventSQL(15, "NULL", "now()"), false},
		"an event without body":  {agedEventSQL(25, "NULL", "now()"), true},
		"an event that a run needs": {`WITH e AS (` + agedEventSQL(25, "''", "NULL") + ` RETURNING id, event_key)
			INSERT INTO lumin.runs (event_key, job_kind, event_id, state) SELECT event_key, 'book', id, 'pending' FROM e`, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := storetest.New(t)
			storetest.Exec(t, s.Pool(), c.sql)
			if got, err := retention.RemovesMore(t.Context(), s.Pool(), strict, loose, time.Now()); err != nil || got != c.want {
				t.Errorf("%t, %v", got, err)
			}
			if more, err := retention.RemovesMore(t.Context(), s.Pool(), loose, loose, time.Now()); err != nil || more {
				t.Errorf("the same policy: %t, %v", more, err)
			}
		})
	}
}

func agedEventSQL(days int, payload, removedAt string) string {
	return fmt.Sprintf(`INSERT INTO lumin.events (event_key, source, payload, payload_sha256, signature, key_id, received_at, payload_removed_at)
		SELECT gen_random_uuid(), 'account', %s::bytea, '', '', 'k', now() - %d * interval '1 day', %s::timestamptz`, payload, days, removedAt)
}
