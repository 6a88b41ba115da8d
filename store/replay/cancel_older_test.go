package replay_test

import (
	"fmt"
	"testing"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store"
	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/replay"
)

// runsOf reads what replays change of the runs in a state.
func runsOf(tb testing.TB, s *store.Store, state replay.Status) string {
	tb.Helper()
	return storetest.Value[string](tb, s.Pool(), `
		SELECT coalesce(string_agg(concat_ws(' ', event_id, replay_id, job_id, finished_at, error), E'\n' ORDER BY event_id), '') FROM lumin.runs WHERE state = $1`, string(state))
}

// older fails, cancels or finishes runs, and begins an order of all of them, which
// takes the first.
func older(tb testing.TB, s *store.Store, status replay.Status, runs int) replay.Order {
	tb.Helper()
	for n := range runs {
		d := storetest.Delivery(n, "book")
		storetest.Record(tb, s, d)
		switch status {
		case replay.Succeeded:
			if err := storetest.Succeed(tb, s, d, "book"); err != nil {
				tb.Fatal(err)
			}
			storetest.Exec(tb, s.Pool(), `UPDATE lumin.river_job SET state = 'completed', finalized_at = now() WHERE kind = 'book' AND state = 'available'`)
		case replay.Cancelled:
			finalize(tb, s, d, "cancelled")
		default:
			storetest.FailAll(tb, s)
		}
	}
	r := storetest.Order(tb, s, replay.Filter{Status: status, Kinds: []string{"book"}})
	if n, err := takePage(tb, s, r, 1, "book"); n != 1 || err != nil {
		tb.Fatal(n, err)
	}
	return r
}

// newer orders the same runs, and takes all that are left.
func newer(tb testing.TB, s *store.Store, status replay.Status, want int) replay.Order {
	tb.Helper()
	r := storetest.Order(tb, s, replay.Filter{Status: status, Kinds: []string{"book"}})
	if n := allPages(tb, s, r, storetest.ReplayJobs("book")); n != want {
		tb.Fatalf("the newer order takes %d runs, want %d", n, want)
	}
	return r
}

// A cancel leaves the runs as they were before the order. So an older order that is
// still open takes them, once each, and so does an order whose plan was made before.
func TestCancelLeavesRunsToOlderOrder(t *testing.T) {
	t.Parallel()
	for _, status := range []replay.Status{replay.Failed, replay.Cancelled, replay.Succeeded} {
		t.Run(string(status), func(t *testing.T) {
			t.Parallel()
			s := storetest.New(t)
			r := older(t, s, status, 5)
			before := runsOf(t, s, status)
			plan, err := replay.New(s).Plan(t.Context(), replay.Filter{Status: status, Kinds: []string{"book"}})
			if err != nil || plan.Runs() != 4 {
				t.Fatalf("%+v, %v", plan, err)
			}
			for range 2 {
				cancelled := newer(t, s, status, 4)
				if got := withdraw(t, s, cancelled.ID); got.Withdrawn != 4 || got.Enqueued != 4 {
					t.Errorf("%+v", got)
				}
				if after := runsOf(t, s, status); after != before {
					t.Errorf("before:\n%s\nafterwards:\n%s", before, after)
				}
				if counts, err := replay.New(s).Runs(t.Context(), cancelled.ID); err != nil || len(counts) != 0 {
					t.Errorf("runs of the cancelled order: %v, %v", counts, err)
				}
			}
			if n := planned(t, s, replay.Filter{Status: status, Kinds: []string{"book"}, AsOf: &plan.AsOf}); n != 4 {
				t.Errorf("a plan as of the first one counts %d, want 4", n)
			}
			if n := allPages(t, s, r, storetest.ReplayJobs("book")); n != 4 || liveJobs(t, s) != 5 {
				t.Errorf("the older order takes %d runs, want 4; %d jobs, want 5", n, liveJobs(t, s))
			}
			if got, err := replay.New(s).Get(t.Context(), r.ID); err != nil || got.Error != "" || got.Enqueued != 5 || got.EnqueuedAt == nil {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

// A run whose job was fetched keeps the number of the cancelled order: the program that
// fetched it may still try to work it, and must not do so after another order has. An
// older order leaves such runs out, and says so.
func TestCancelAfterFetch(t *testing.T) {
	t.Parallel()
	for name, fetched := range map[string]string{
		"an attempt failed":     `state = 'retryable', attempt = 1, attempted_at = now()`,
		"the job is given back": `attempted_at = now(), metadata = metadata || '{"lumin:given_back": 1}'`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := storetest.New(t)
			r := older(t, s, replay.Failed, 3)
			cancelled := newer(t, s, replay.Failed, 2)
			held := storetest.Value[int64](t, s.Pool(), `SELECT max(event_id) FROM lumin.runs WHERE replay_id = $1`, cancelled.ID)
			storetest.Exec(t, s.Pool(), `UPDATE lumin.river_job j SET `+fetched+` FROM lumin.runs r WHERE r.event_id = $1 AND j.id = r.job_id`, held)
			withdraw(t, s, cancelled.ID)
			const runSQL = `SELECT concat_ws(' ', state, replay_id, job_id, finished_at = (SELECT max(failed_at) FROM lumin.failures f WHERE f.event_key = r.event_key))
				FROM lumin.runs r WHERE event_id = $1`
			if got, want := storetest.Value[string](t, s.Pool(), runSQL, held), fmt.Sprintf("failed %d t", cancelled.ID); got != want {
				t.Errorf("the run is %q, want %q", got, want)
			}
			if n := allPages(t, s, r, storetest.ReplayJobs("book")); n != 1 {
				t.Errorf("the older order takes %d runs, want 1", n)
			}
			const note = "runs were skipped because a later replay, which was cancelled, had started them: order them again"
			if got, err := replay.New(s).Get(t.Context(), r.ID); err != nil || got.Error != note || got.EnqueuedAt == nil {
				t.Errorf("%+v, %v", got, err)
			}
			newer(t, s, replay.Failed, 1)
		})
	}
}

// The jobs of an older program do not say what a run was before.
func TestCancelJobsOfOlderProgram(t *testing.T) {
	t.Parallel()
	for name, metadata := range map[string]string{
		"none":           `{}`,
		"something else": `{"lumin:before": "yesterday"}`,
		"nothing":        `{"lumin:before": {}}`,
		"a later replay": `{"lumin:before": {"replay_id": 1000, "job_id": 1}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := storetest.New(t)
			older(t, s, replay.Failed, 3)
			cancelled := newer(t, s, replay.Failed, 2)
			storetest.Exec(t, s.Pool(), `UPDATE lumin.river_job SET metadata = $1`, metadata)
			withdraw(t, s, cancelled.ID)
			const runsSQL = `SELECT count(*) FROM lumin.runs r WHERE state = 'failed' AND replay_id = $1 AND job_id IS NULL
				AND finished_at = (SELECT max(failed_at) FROM lumin.failures f WHERE f.event_key = r.event_key)`
			if n := storetest.Value[int](t, s.Pool(), runsSQL, cancelled.ID); n != 2 {
				t.Errorf("%d runs have the time of their failure, want 2", n)
			}
		})
	}
}

// An order does not end while a later one that was cancelled still restores runs.
func TestOlderOrderAwaitsCancel(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	r := older(t, s, replay.Failed, 3)
	cancelled := newer(t, s, replay.Failed, 2)
	if err := replay.New(s).Cancel(t.Context(), cancelled.ID); err != nil {
		t.Fatal(err)
	}
	page, err := replay.New(s).TakePage(t.Context(), r, storetest.ReplayJobs("book"), replay.Position{}, 2)
	if err != nil || page.Enqueued != 0 || page.Exhausted || !page.Wait {
		t.Errorf("while the runs are restored: %+v, %v", page, err)
	}
	if next, _, err := replay.New(s).WithdrawPage(t.Context(), cancelled, 0); err != nil || next == 0 {
		t.Fatal(next, err)
	}
	if _, finished, err := replay.New(s).WithdrawPage(t.Context(), cancelled, 0); err != nil || !finished {
		t.Fatal(finished, err)
	}
	if n := allPages(t, s, r, storetest.ReplayJobs("book")); n != 2 {
		t.Errorf("the older order takes %d runs, want 2", n)
	}
}

// A run may be restored behind the position of a pass. The order does not end with
// this pass, although the cancelled one is finished by then, whichever is older.
func TestOrderLooksAgain(t *testing.T) {
	t.Parallel()
	for _, exchanged := range []bool{false, true} {
		t.Run(fmt.Sprintf("the older one is cancelled: %t", exchanged), func(t *testing.T) {
			t.Parallel()
			s := storetest.New(t)
			r := older(t, s, replay.Failed, 4)
			other := storetest.Order(t, s, replay.Filter{Status: replay.Failed, Kinds: []string{"book"}})
			if exchanged {
				r, other = other, r
			}
			looksAgain(t, s, r, other)
		})
	}
}

func looksAgain(t *testing.T, s *store.Store, r, other replay.Order) {
	t.Helper()
	if n, err := takePage(t, s, other, 1, "book"); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	page, err := replay.New(s).TakePage(t.Context(), r, storetest.ReplayJobs("book"), replay.Position{}, 1)
	if err != nil || page.Enqueued != 1 {
		t.Fatalf("%+v, %v", page, err)
	}
	restored := withdraw(t, s, other.ID).Withdrawn
	if restored == 0 {
		t.Fatal("no run was restored")
	}
	page, err = replay.New(s).TakePage(t.Context(), r, storetest.ReplayJobs("book"), page.Next, 5)
	if err != nil || page.Enqueued != 1 || page.Exhausted {
		t.Errorf("the pass during which a run was restored: %+v, %v", page, err)
	}
	if n := allPages(t, s, r, storetest.ReplayJobs("book")); int64(n) != restored {
		t.Errorf("another pass takes %d runs, want %d", n, restored)
	}
}

// A parked run that is woken during a cancel is restored all the same. A parked run of
// a replay of succeeded runs gets its time back from the job that has parked it.
func TestCancelBesideWake(t *testing.T) {
	t.Parallel()
	for _, status := range []replay.Status{replay.Failed, replay.Succeeded} {
		t.Run(string(status), func(t *testing.T) {
			t.Parallel()
			s := storetest.New(t)
			older(t, s, status, 3)
			times := `SELECT string_agg(event_id || ' ' || finished_at, ', ' ORDER BY event_id) FROM lumin.runs WHERE state = '` + string(status) + `'`
			before := storetest.Value[string](t, s.Pool(), times)
			r := newer(t, s, status, 2)
			storetest.Exec(t, s.Pool(), `UPDATE lumin.river_job j SET state = 'completed', attempt = 1, attempted_at = now(), finalized_at = now()
				FROM lumin.runs r WHERE r.replay_id = $1 AND j.id = r.job_id`, r.ID)
			storetest.Exec(t, s.Pool(), `UPDATE lumin.runs SET state = 'parked' WHERE replay_id = $1`, r.ID)
			conn := pgtest.Conn(t, s.Pool().Config().ConnString())
			storetest.Exec(t, conn, `BEGIN`)
			storetest.Exec(t, conn, `
				WITH woken AS (
				    UPDATE lumin.runs SET state = 'pending', job_id = nextval('lumin.river_job_id_seq')
				    WHERE event_id = (SELECT max(event_id) FROM lumin.runs WHERE replay_id = $1) RETURNING *
				)
				INSERT INTO lumin.river_job (id, args, kind, max_attempts)
				SELECT job_id, jsonb_build_object('event_key', event_key, 'replay_id', replay_id), job_kind, 5 FROM woken`, r.ID)
			if err := replay.New(s).Cancel(t.Context(), r.ID); err != nil {
				t.Fatal(err)
			}
			if next, finished, err := replay.New(s).WithdrawPage(t.Context(), r, 0); next != 0 || finished || err != nil {
				t.Errorf("while a parked run is woken: next %d, finished %t, %v", next, finished, err)
			}
			storetest.Exec(t, conn, `COMMIT`)
			if next, finished, err := replay.New(s).WithdrawPage(t.Context(), r, 0); next == 0 || finished || err != nil {
				t.Errorf("afterwards: next %d, finished %t, %v", next, finished, err)
			}
			if next, finished, err := replay.New(s).WithdrawPage(t.Context(), r, 0); next != 0 || !finished || err != nil {
				t.Errorf("at the end: next %d, finished %t, %v", next, finished, err)
			}
			if got, err := replay.New(s).Get(t.Context(), r.ID); err != nil || got.Withdrawn != 2 || !got.Finished() || liveJobs(t, s) != 1 {
				t.Errorf("%+v, %v, %d jobs", got, err, liveJobs(t, s))
			}
			// Nothing says when the woken one had succeeded.
			after := storetest.Value[string](t, s.Pool(), times)
			if status == replay.Succeeded {
				const firstSQL = `SELECT split_part($1, ', ', 1)`
				before, after = storetest.Value[string](t, s.Pool(), firstSQL, before), storetest.Value[string](t, s.Pool(), firstSQL, after)
			}
			if after != before {
				t.Errorf("the runs had ended at %s, afterwards at %s", before, after)
			}
		})
	}
}
