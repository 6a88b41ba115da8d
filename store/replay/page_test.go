package replay_test

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/store/catalog"
	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/replay"
)

func TestReplayPages(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	var all []store.Delivery
	for n := range 25 {
		all = append(all, storetest.Delivery(n, "book"))
	}
	fail(t, s, all...)
	r := storetest.Order(t, s, replay.Filter{Status: replay.Failed})
	var pages []int
	left := len(all)
	for {
		n, err := takePage(t, s, r, 10, "book")
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, n)
		left -= n
		at, err := replay.New(s).Get(t.Context(), r.ID)
		if err != nil {
			t.Fatal(err)
		}
		if at.State != "running" || (at.EnqueuedAt != nil) != (left == 0) {
			t.Errorf("after %v: %+v", pages, at)
		}
		if n == 0 || len(pages) > 10 {
			break
		}
		// Runs that fail again at once are not taken by this order.
		storetest.FailAll(t, s)
	}
	if fmt.Sprint(pages) != "[10 10 5 0]" {
		t.Errorf("pages of %v", pages)
	}
	if n := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.failures WHERE replay_id = $1`, r.ID); n != 25 {
		t.Errorf("%d runs failed again, want 25", n)
	}
	finish(t, s, r.ID, true)
	if r, _ = replay.New(s).Get(t.Context(), r.ID); r.Enqueued != 25 || r.State != "done" || r.Planned == nil || *r.Planned != 25 {
		t.Errorf("%d enqueued", r.Enqueued)
	}
	// The next order takes them.
	next := storetest.Order(t, s, replay.Filter{Status: replay.Failed})
	if n := carryOut(t, s, next, 1000, "book"); n != 25 {
		t.Errorf("the next order replays %d", n)
	}
}

func TestOrdersAtOnce(t *testing.T) {
	t.Parallel()
	s := storetest.On(t, pgtest.Pool(t, pgtest.New(t)+"&pool_max_conns=8"))
	var all []store.Delivery
	for n := range 100 {
		all = append(all, storetest.Delivery(n, "book", "mail"))
	}
	fail(t, s, all...)
	var replayed atomic.Int64
	var group sync.WaitGroup
	orders := []replay.Order{storetest.Order(t, s, replay.Filter{Status: replay.Failed}), storetest.Order(t, s, replay.Filter{Kinds: []string{"mail", "book"}})}
	for _, r := range append(orders, orders...) { // each by two workers
		group.Go(func() { replayed.Add(int64(carryOut(t, s, r, 7, "book", "mail"))) })
	}
	group.Wait()
	if replayed.Load() != 200 {
		t.Errorf("%d runs replayed, want 200", replayed.Load())
	}
	var enqueued int64
	for _, r := range orders {
		r, err := replay.New(s).Get(t.Context(), r.ID)
		if err != nil {
			t.Fatal(err)
		}
		if r.EnqueuedAt == nil {
			t.Errorf("order %d has not ended", r.ID)
		}
		enqueued += r.Enqueued
	}
	if enqueued != 200 {
		t.Errorf("the orders say %d", enqueued)
	}
	// Each run has exactly one live job, of the order that the run names.
	matching := storetest.Value[int](t, s.Pool(), `
		SELECT count(*) FROM lumin.runs r JOIN lumin.river_job j
		ON j.args ->> 'event_key' = r.event_key::text AND j.kind = r.job_kind AND (j.args ->> 'replay_id')::bigint = r.replay_id
		WHERE j.state = 'available' AND r.state = 'pending'`)
	live := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.river_job WHERE state = 'available' AND kind <> 'lumin_replay'`)
	if matching != 200 || live != 200 {
		t.Errorf("%d runs with their job, %d live jobs", matching, live)
	}
}

// Runs of job types that no running program knows stay failed.
func TestReplayOfUnknownKind(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	d := storetest.Delivery(1, "book", "retired")
	fail(t, s, d)
	if n := carryOut(t, s, storetest.Order(t, s, replay.Filter{Status: replay.Failed}), 1000, "book"); n != 1 {
		t.Errorf("%d runs replayed", n)
	}
	storetest.WantState(t, s, d, "retired", "failed 0")
}

// Runs of job types that no running program knows are skipped, and the order
// lists them.
func TestReplayListsUnknownKinds(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	fail(t, s, storetest.Delivery(1, "book", "mail"))
	r := storetest.Order(t, s, replay.Filter{Status: replay.Failed})
	if n := allPages(t, s, r, storetest.ReplayJobs("book")); n != 1 {
		t.Errorf("%d runs", n)
	}
	if r, _ = replay.New(s).Get(t.Context(), r.ID); r.Error != `runs were skipped because no running program knows their job types: ["mail"]` {
		t.Errorf("%+v", r)
	}
}

// If a replay takes a run while an old job still works on it, the old job can
// no longer change the run.
func TestReplayStopsOldJob(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	d := storetest.Delivery(1, "book")
	fail(t, s, d)
	r := storetest.Order(t, s, replay.Filter{Status: replay.Failed})
	carryOut(t, s, r, 1, "book")
	_, err := claim(t, s, attempt(d, "book", 0))
	wantError(t, err, store.ErrRunSettled)
	if err := s.Settle(t.Context(), attempt(d, "book", 0)); err != nil {
		t.Fatal(err)
	}
	storetest.WantState(t, s, d, "book", fmt.Sprintf("pending %d", r.ID))
	if _, err := claim(t, s, attempt(d, "book", r.ID)); err != nil {
		t.Fatal(err)
	}
	_, err = claim(t, s, attempt(d, "book", 0))
	wantError(t, err, store.ErrRunSettled)
}

func TestReplaySucceededAndCancelled(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	done, given, failed := storetest.Delivery(1, "book"), storetest.Delivery(2, "book"), storetest.Delivery(3, "book")
	storetest.Record(t, s, done)
	if _, err := claim(t, s, attempt(done, "book", 0)); err != nil {
		t.Fatal(err)
	}
	storetest.Exec(t, s.Pool(), `DELETE FROM lumin.river_job`)
	storetest.Record(t, s, given)
	finalize(t, s, given, "cancelled")
	fail(t, s, failed)

	again := storetest.Order(t, s, replay.Filter{Status: replay.Succeeded, Kinds: []string{"book"}})
	// A run whose body another transaction may be about to remove is skipped.
	tx, err := s.Pool().Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `SELECT FROM lumin.events FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	// The run may become free again, so the order does not end.
	if page, err := replay.New(s).TakePage(t.Context(), again, storetest.ReplayJobs("book"), replay.Position{}, 1); err != nil || page.Enqueued != 0 || page.Exhausted || !page.Wait {
		t.Errorf("%+v, %v", page, err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := allPages(t, s, again, storetest.ReplayJobs("book")); n != 1 {
		t.Errorf("%d succeeded runs replayed, want 1", n)
	}
	// An order takes a run once, even if the order is carried out again.
	if _, err := claim(t, s, attempt(done, "book", again.ID)); err != nil {
		t.Fatal(err)
	}
	if n := allPages(t, s, again, storetest.ReplayJobs("book")); n != 0 {
		t.Errorf("%d replayed by an order that had taken them", n)
	}
	cancelled := storetest.Order(t, s, replay.Filter{Status: replay.Cancelled})
	if n := allPages(t, s, cancelled, storetest.ReplayJobs("book")); n != 1 {
		t.Errorf("%d cancelled runs replayed, want 1", n)
	}
	storetest.WantState(t, s, given, "book", fmt.Sprintf("pending %d", cancelled.ID))
	if got := withdraw(t, s, cancelled.ID); got.Withdrawn != 1 {
		t.Errorf("%+v", got)
	}
	storetest.WantState(t, s, given, "book", "cancelled 0")
	storetest.WantState(t, s, failed, "book", "failed 0")

	// An erased run is not replayed.
	storetest.Exec(t, s.Pool(), `UPDATE lumin.events SET payload = NULL, payload_removed_at = now()`)
	if n := planned(t, s, replay.Filter{Status: replay.Cancelled}); n != 0 {
		t.Errorf("%d planned of events without a body", n)
	}
}

func TestReplayRetrying(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	waiting, snoozed, fresh := storetest.Delivery(1, "book"), storetest.Delivery(2, "book"), storetest.Delivery(3, "book")
	storetest.Record(t, s, waiting, snoozed, fresh)
	for d, state := range map[*store.Delivery]string{&waiting: "retryable", &snoozed: "scheduled"} {
		storetest.Exec(t, s.Pool(), `UPDATE lumin.river_job SET state = $2::lumin.river_job_state, attempt = 2, scheduled_at = now() + interval '1 hour' WHERE args ->> 'event_key' = $1`,
			d.Envelope.Key().String(), state)
	}
	r := storetest.Order(t, s, replay.Filter{Status: replay.Retrying})
	if *r.Planned != 2 {
		t.Errorf("planned %d", *r.Planned)
	}
	if n := allPages(t, s, r, storetest.ReplayJobs("book")); n != 2 {
		t.Errorf("%d runs, want 2", n)
	}
	if got := storetest.Value[string](t, s.Pool(), `
		SELECT string_agg(concat_ws(' ', state, attempt, args ->> 'replay_id', scheduled_at <= now()), ', ' ORDER BY id)
		FROM lumin.river_job WHERE kind = 'book'`); got != fmt.Sprintf("available 2 %[1]d t, available 2 %[1]d t, available 0 0 t", r.ID) {
		t.Errorf("jobs: %s", got)
	}
	storetest.WantState(t, s, waiting, "book", fmt.Sprintf("pending %d", r.ID))
	storetest.WantState(t, s, fresh, "book", "pending 0")
	// An attempt that River gave up can no longer act. The job that was moved
	// to now can.
	if _, err := claim(t, s, attempt(waiting, "book", 0)); err == nil {
		t.Error("the old attempt may act")
	}
	if _, err := claim(t, s, attempt(waiting, "book", r.ID)); err != nil {
		t.Error(err)
	}
}

func TestReplayUnrecognized(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	// Bodies that an older program could not decode.
	readable, known := storetest.Delivery(1), storetest.Delivery(2, "book")
	unread := func(payload []byte) store.Delivery {
		return store.Delivery{Source: "account", Payload: payload, Signature: make([]byte, 32), KeyID: "k", ReceivedAt: readable.ReceivedAt}
	}
	inSeconds := bytes.Replace(storetest.Delivery(3).Payload, []byte(`7598`), []byte(``), 1) // of 1694664207598 ms
	if bytes.Equal(inSeconds, storetest.Delivery(3).Payload) {
		t.Fatal("the body has another time")
	}
	receipts := storetest.Record(t, s, unread(readable.Payload), unread([]byte("?")), unread(known.Payload), known, unread(inSeconds))
	f := replay.Filter{Status: replay.Unrecognized}
	route := replay.Jobs{Route: func(string, lumin.EventType) []store.JobSpec { return storetest.Specs("book") }}
	r := storetest.Order(t, s, f)
	if *r.Planned != 2 {
		t.Errorf("planned %d, want 2: only carrying it out finds the copy that was recognized", *r.Planned)
	}
	if n := allPages(t, s, r, route); n != 1 {
		t.Errorf("%d events decoded, want 1", n)
	}
	got := storetest.Value[string](t, s.Pool(), `
		SELECT concat_ws(' ', event_key, signature_request_id, decoded_from, encode(payload, 'escape') = $1)
		FROM lumin.events WHERE decoded_from IS NOT NULL`, string(readable.Payload))
	if want := fmt.Sprintf("%s request-1 %d t", readable.Envelope.Key(), receipts[0].EventID); got != want {
		t.Errorf("decoded %q, want %q", got, want)
	}
	storetest.WantState(t, s, readable, "book", fmt.Sprintf("pending %d", r.ID)) // so that the order can finish
	if n := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.events WHERE signature_request_id IS NULL`); n != 4 {
		t.Errorf("%d unrecognized events, want the 4 that there were", n)
	}
	if n := allPages(t, s, storetest.Order(t, s, f), route); n != 0 {
		t.Errorf("a second order decodes %d", n)
	}
}

// A page of a replay reads only its own runs and events, even if it is large.
// Otherwise each of many pages would read the whole table.
func TestReplayPagePlans(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	conn := pgtest.Conn(t, url)
	storetest.Fill(t, conn, 1, 50_000)
	storetest.Exec(t, conn, `ANALYZE lumin.events, lumin.runs, lumin.redeliveries, lumin.signature_requests, lumin.river_job`)
	if _, err := catalog.AddJobTypes(t.Context(), pgtest.Pool(t, url), []catalog.JobType{{Kind: "late", Queue: "default"}}); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]replay.Filter{
		"failed":    {Status: replay.Failed},
		"succeeded": {Status: replay.Succeeded},
		"missing":   {Status: replay.Missing, Kinds: []string{"late"}},
		"by source": {Status: replay.Succeeded, Sources: []string{"account"}},
	} {
		t.Run(name, func(t *testing.T) {
			jobs := storetest.ReplayJobs("book", "late")
			sql, args := replay.PageQuery(f, jobs, 5000)
			if plan := explained(t, conn, "", sql, args); storetest.ReadsAll.MatchString(plan) || !wholePage.MatchString(plan) {
				t.Errorf("reads a whole table, or not a whole page:\n%s", plan)
			}
			until := storetest.Value[[16]byte](t, conn, `SELECT event_key FROM lumin.runs ORDER BY 1 OFFSET 2000 LIMIT 1`)
			sql, args = replay.LeftQuery(f, jobs, until, 2000)
			if plan := explained(t, conn, replay.LookUp, sql, args); storetest.ReadsAll.MatchString(plan) {
				t.Errorf("reads a whole table for what is left:\n%s", plan)
			}
		})
	}
}

// explained runs a statement after another in a transaction that is rolled back, and
// returns its plan.
func explained(tb testing.TB, conn *pgx.Conn, before, sql string, args pgx.NamedArgs) string {
	tb.Helper()
	storetest.Exec(tb, conn, `BEGIN`)
	defer storetest.Exec(tb, conn, `ROLLBACK`)
	storetest.Exec(tb, conn, before)
	rows, err := conn.Query(tb.Context(), `EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF) `+sql, pgx.QueryExecModeCacheDescribe, args)
	if err != nil {
		tb.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		tb.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

// wholePage matches a plan that returns 5,000 rows. PostgreSQL 18 prints
// 5000.00.
var wholePage = regexp.MustCompile(`rows=5000(\.00)? `)
