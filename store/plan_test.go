package store_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store"
	"lumin-ingest/store/internal/storetest"
)

// hotQueries are the queries that run for each event or job, by name. Their
// arguments are those of an event, source, job type and id that exist once the
// tables are filled.
func hotQueries() map[string]struct{ sql, args string } {
	const (
		key  = `md5('25000')::uuid`
		keys = `ARRAY[md5('25000')::uuid, md5('9')::uuid, md5('40000')::uuid]`
	)
	many := func(value string) string { return fmt.Sprintf("ARRAY[%s, %s, %s]", value, value, value) }
	return map[string]struct{ sql, args string }{
		"record": {store.RecordSQL, strings.Join([]string{
			keys, many(`'account'`), many(`'r'`), many(`'t'`), many(`now()`),
			many(`'\x00'::bytea`), many(`'\x00'::bytea`), many(`'\x00'::bytea`), many(`'k'`), many(`now()`),
			keys, many(`'account'`), many(`'book'`), `ARRAY['book']`, `ARRAY[3]`, `ARRAY[1]`, `ARRAY['default']`, `0`,
			many(`false`), many(`true`),
		}, ", ")},
		"load events":        {store.LoadEventsSQL, strings.Join([]string{keys, many(`'account'`)}, ", ")},
		"lock events":        {store.LockEventsSQL, `ARRAY[5, 25000]`},
		"recovered events":   {store.RecoveredEventsSQL, many(`'request-5'`) + `, ` + many(`'signature_request_approved'`)},
		"promoted events":    {store.PromotedEventsSQL, `ARRAY[5, 25000]`},
		"locked events":      {store.LockedEventsSQL, strings.Join([]string{keys, many(`'account'`), many(`'\x01'::bytea`)}, ", ")},
		"kept bodies":        {store.KeptBodiesSQL, `ARRAY[5, 25000]`},
		"count redeliveries": {store.UpsertRedeliveriesSQL, strings.Join([]string{`ARRAY[5]`, `ARRAY['\x00'::bytea]`, `ARRAY['nothing']`, `ARRAY['\x00'::bytea]`, `ARRAY[1]`, `ARRAY[now()]`, `ARRAY[now()]`, `ARRAY[false]`, `ARRAY['\x00'::bytea]`, `ARRAY['k']`, `ARRAY[md5('1')::uuid]`, `ARRAY['account']`}, ", ")},
		"claim":              {store.ClaimSQL, key + `, 'book', 0, 5, 1`},
		"claim in order":     {store.OrderedClaimSQL, key + `, 'book', 0, 5, 1, true`},
		"head":               {store.HeadSQL, key + `, 'book'`},
		"wake":               {store.WakeParkedSQL, keys + `, ` + many(`'book'`) + `, 3`},
		"check run":          {store.RunActsSQL, key + `, 'book', 0`},
		"claim a batch":      {store.ClaimBatchSQL, `'book', ` + strings.Join([]string{keys, many(`0`), many(`5`), many(`1`)}, ", ") + `, 3`},
		"check runs":         {store.RunsActSQL, `'book', ` + keys + `, ` + many(`0`)},
		"read run":           {store.ReadRunSQL, key + `, 'book', 0`},
		"settle":             {store.SettleSQL, key + `, 'book', 0, 5, 1`},
		"note attempt":       {store.NoteAttemptSQL, key + `, 'book', 0, 5, 1, 'error'`},
	}
}

// keepPlansSQL turns off automatic analysis of the tables, which would discard
// old plans.
const keepPlansSQL = `
ALTER TABLE lumin.events SET (autovacuum_enabled = false);
ALTER TABLE lumin.runs SET (autovacuum_enabled = false);
ALTER TABLE lumin.redeliveries SET (autovacuum_enabled = false);
ALTER TABLE lumin.signature_requests SET (autovacuum_enabled = false);
ALTER TABLE lumin.river_job SET (autovacuum_enabled = false)`

const analyzeSQL = `ANALYZE lumin.events, lumin.runs, lumin.redeliveries, lumin.signature_requests, lumin.river_job`

func explain(tb testing.TB, conn *pgx.Conn, sql string, args ...any) string {
	tb.Helper()
	rows, err := conn.Query(tb.Context(), `EXPLAIN (ANALYZE, VERBOSE, TIMING OFF, SUMMARY OFF) `+sql,
		append([]any{pgx.QueryExecModeCacheDescribe}, args...)...)
	if err != nil {
		tb.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	return strings.Join(lines, "\n")
}

// A connection keeps a plan as long as it lives. Plans made when the tables
// were empty, or just large enough to be analyzed for the first time, must be
// as good as plans for full tables.
func TestPlans(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"made for empty tables": 0, "made for small tables": 1000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testPlans(t, size)
		})
	}
}

func checkPlan(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	exec(t, conn, `BEGIN`)
	plan := explain(t, conn, sql)
	exec(t, conn, `ROLLBACK`)
	checkText(t, plan)
}

func checkText(t *testing.T, plan string) {
	t.Helper()
	if storetest.ReadsAll.MatchString(plan) {
		t.Errorf("reads a whole table:\n%s", plan)
	}
	for _, line := range storetest.RemovedRows.FindAllStringSubmatch(plan, -1) {
		if len(line[1]) > 3 {
			t.Errorf("reads %s rows and discards them:\n%s", line[1], plan)
		}
	}
}

// sweepInTime sweeps tables that were never analyzed, and again after ANALYZE.
// A sweep has 30 seconds. It once took minutes on tables that were never
// analyzed.
func sweepInTime(t *testing.T, url string, conn *pgx.Conn) {
	t.Helper()
	s := storeOn(t, pgtest.Pool(t, url))
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if settled, _, err := s.Sweep(ctx, time.Time{}); err != nil || settled != 0 {
			t.Errorf("sweep: %d settled, %v", settled, err)
		}
		if settled, _, err := s.SweepEnded(ctx, store.EndedPosition{}); err != nil || settled != 0 {
			t.Errorf("sweep of ended jobs: %d settled, %v", settled, err)
		}
		cancel()
		exec(t, conn, analyzeSQL)
	}
}

func testPlans(t *testing.T, size int) {
	url := pgtest.New(t)
	fresh, old := pgtest.Conn(t, url), pgtest.Conn(t, url)
	if least := value[int](t, fresh, `
		SELECT min(substring(option from '[0-9]+')::int) FROM pg_class, unnest(reloptions) option
		WHERE relnamespace = 'lumin'::regnamespace AND option LIKE 'autovacuum_%_threshold=%'`); least < 1000 {
		t.Errorf("tables may be analyzed with %d rows", least)
	}
	if _, err := fresh.Exec(t.Context(), keepPlansSQL); err != nil {
		t.Fatal(err)
	}
	if size > 0 {
		storetest.Fill(t, fresh, 1, size)
		exec(t, fresh, analyzeSQL)
	}
	exec(t, old, `SET plan_cache_mode = force_generic_plan`)
	exec(t, fresh, `INSERT INTO lumin.job_types (kind, events, sources, transactional, queue, when_failed) VALUES ('book', '{}', '{}', true, 'default', 'hold')`)
	name := map[string]string{}
	for query, q := range hotQueries() {
		name[query] = fmt.Sprintf("q%d", len(name))
		exec(t, old, `PREPARE `+name[query]+` AS `+q.sql)
		exec(t, old, `BEGIN`)
		exec(t, old, `EXECUTE `+name[query]+`(`+q.args+`)`)
		exec(t, old, `ROLLBACK`)
	}
	storetest.Fill(t, fresh, size+1, 50_000)
	for query, q := range hotQueries() {
		t.Run("old connection/"+query, func(t *testing.T) { checkPlan(t, old, `EXECUTE `+name[query]+`(`+q.args+`)`) })
	}
	sweepInTime(t, url, fresh)
	planned := func(t *testing.T, mode, sql, args string) {
		t.Helper()
		exec(t, fresh, `SET plan_cache_mode = `+mode)
		exec(t, fresh, `PREPARE q AS `+sql)
		checkPlan(t, fresh, `EXECUTE q(`+args+`)`)
		exec(t, fresh, `DEALLOCATE q`)
	}
	for query, q := range hotQueries() {
		t.Run("new connection/"+query, func(t *testing.T) {
			planned(t, "force_custom_plan", q.sql, q.args)
			planned(t, "force_generic_plan", q.sql, q.args)
		})
	}
	// The sweep is planned for its page each time.
	t.Run("sweep of runs that know their job", func(t *testing.T) {
		const page = `ARRAY[md5('50')::uuid, md5('100')::uuid], ARRAY['book', 'book'], ARRAY[0, 0], ARRAY[50, 100], ARRAY[0, 0]`
		planned(t, "force_custom_plan", store.SweepOrphansSQL, page)
		planned(t, "force_generic_plan", store.SweepOrphansSQL, page)
	})
	for query, q := range map[string]struct{ sql, args string }{
		"sweep of ended jobs":  {store.SweepEndedSQL, `'discarded', '-infinity', 1000`},
		"sweep of parked runs": {store.ParkedPageSQL, `'-infinity', 5000`},
	} {
		t.Run(query, func(t *testing.T) {
			planned(t, "force_custom_plan", q.sql, q.args)
			planned(t, "force_generic_plan", q.sql, q.args)
		})
	}
	t.Run("jobs of lost owners", func(t *testing.T) {
		planned(t, "force_custom_plan", store.LostOwnersSQL, `'self/locked', 'self', ARRAY[5, 9]`)
		planned(t, "force_custom_plan", store.GiveBackSQL, `'gone/locked', now(), ARRAY[5, 9], 3`)
	})
}

// A list is planned for its filter each time: see ListEvents. Each filter and each
// pair of filters is read by an index in the order of the list, also on tables that
// were never vacuumed, and for values that no event has together.
func TestListPlans(t *testing.T) {
	t.Parallel()
	conn := pgtest.Conn(t, pgtest.New(t))
	exec(t, conn, keepPlansSQL)
	storetest.Fill(t, conn, 1, 50_000)
	// Half of the events have each source and each type, but never both.
	exec(t, conn, `UPDATE lumin.events SET source = 'app:crm', event_type = 'signature_request_viewed' WHERE id % 2 = 0`)
	exec(t, conn, analyzeSQL)
	then, position := time.Now().Add(-time.Hour), store.EventPosition{ReceivedAt: time.Now(), ID: 20_000}
	for name, f := range map[string]store.EventFilter{
		"none":                          {},
		"a later page":                  {Before: position},
		"signature request":             {SignatureRequestID: "request-40000"},
		"signature request and source":  {SignatureRequestID: "request-40000", Source: "account"},
		"until then":                    {ReceivedUntil: &then},
		"source":                        {Source: "account"},
		"another source":                {Source: "app:none"},
		"source until then":             {Source: "account", ReceivedUntil: &then},
		"type":                          {EventType: "signature_request_signed"},
		"another type":                  {EventType: "signature_request_invalid"},
		"type, a later page":            {EventType: "signature_request_signed", Before: position},
		"source and type":               {Source: "account", EventType: "signature_request_signed"},
		"source and type, none":         {Source: "account", EventType: "signature_request_viewed"},
		"unrecognized":                  {Unrecognized: true},
		"late":                          {Late: true},
		"late, a later page":            {Late: true, Before: position},
		"late of a source":              {Late: true, Source: "account"},
		"unrecognized of a source":      {Unrecognized: true, Source: "account"},
		"type, oldest first":            {EventType: "signature_request_signed", OldestFirst: true, After: position},
		"source and type, oldest first": {Source: "account", EventType: "signature_request_viewed", OldestFirst: true},
	} {
		t.Run(name, func(t *testing.T) {
			f.Limit = 50
			sql, args := f.ListQuery()
			plan := explain(t, conn, sql, args)
			checkText(t, plan)
			if listSort.MatchString(plan) {
				t.Errorf("sorts many events:\n%s", plan)
			}
		})
	}
}

// listSort matches a plan that sorts more than the first pages.
var listSort = regexp.MustCompile(`Sort .*actual rows=\d{4,}`)
