package failures_test

import (
	"testing"
	"time"

	"lumin-ingest/store"
	"lumin-ingest/store/failures"
	"lumin-ingest/store/internal/storetest"
)

// failSQL makes many runs fail: most with one error, and the newest ten with
// another. Half of them had succeeded before.
const failSQL = `
INSERT INTO lumin.runs (event_key, job_kind, event_id, state, attempts, error, rerun, finished_at)
SELECT (lpad(to_hex(n), 12, '0') || substr(md5(n::text), 13))::uuid, 'book', n, 'failed', 3,
       CASE WHEN n > $1 - 10 THEN 'no such account' ELSE 'timeout' END, n % 2, now() - ($1 - n) * interval '1 second'
FROM generate_series(1, $1::int) n`

const manyRuns = 40_000

// A long list is an estimate that says so. It has the newest errors even if they
// are rare. The exact list is the truth.
func TestManyFailures(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Exec(t, s.Pool(), failSQL, manyRuns)
	storetest.Exec(t, s.Pool(), `VACUUM ANALYZE lumin.runs`)
	testMany(t, s, failures.Failed())
}

func TestManyDismissed(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Exec(t, s.Pool(), failSQL, manyRuns)
	storetest.Exec(t, s.Pool(), `
		WITH d AS (UPDATE lumin.runs SET state = 'dismissed' RETURNING event_key, job_kind)
		INSERT INTO lumin.dismissals (event_key, job_kind, reason, dismissed_by) SELECT event_key, job_kind, 'test data', 'ann' FROM d`)
	storetest.Exec(t, s.Pool(), `VACUUM ANALYZE lumin.runs, lumin.dismissals`)
	testMany(t, s, failures.Dismissed())
	groups, err := failures.Dismissed().Quickly(t.Context(), s.Pool(), nil, nil, 10)
	if err != nil || len(groups.Groups) != 2 || len(groups.Groups[0].Dismissals) != 1 {
		t.Fatalf("%+v, %v", groups, err)
	}
	wantAbout(t, groups.Groups[0].Dismissals[0].Runs, manyRuns)
}

func TestManyRetrying(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Exec(t, s.Pool(), failSQL, manyRuns)
	storetest.Exec(t, s.Pool(), `
		INSERT INTO lumin.river_job (id, args, kind, max_attempts, attempt, state, attempted_at, scheduled_at)
		SELECT event_id, jsonb_build_object('event_key', event_key, 'replay_id', 0), 'book', 10, 3, 'retryable', finished_at, now() + interval '1 hour' FROM lumin.runs`)
	storetest.Exec(t, s.Pool(), `UPDATE lumin.runs SET state = 'pending', job_id = event_id, finished_at = NULL`)
	storetest.Exec(t, s.Pool(), `VACUUM ANALYZE lumin.runs, lumin.river_job`)
	groups, err := failures.Retrying().Quickly(t.Context(), s.Pool(), nil, nil, 10)
	if err != nil || groups.Exact || len(groups.Groups) == 0 || groups.Groups[0].NextAttempt == nil {
		t.Fatalf("%+v, %v", groups, err)
	}
	wantAbout(t, groups.Groups[0].Runs, manyRuns)
	exact := exactly(t, s, failures.Retrying())
	if exact[0].Runs != manyRuns-10 {
		t.Errorf("%+v", exact)
	}
}

// testMany checks a list of manyRuns runs.
func testMany(t *testing.T, s *store.Store, l failures.List) {
	t.Helper()
	exact := exactly(t, s, l)
	if len(exact) != 2 || exact[0].Runs != manyRuns-10 || exact[1].Runs != 10 || exact[0].SucceededBefore != manyRuns/2-5 {
		t.Fatalf("exactly %+v", exact)
	}
	groups, err := l.Quickly(t.Context(), s.Pool(), nil, nil, 10)
	if err != nil || groups.Exact || groups.MayMiss == 0 || len(groups.Groups) != 2 {
		t.Fatalf("%+v, %v", groups, err)
	}
	timeout, account := groups.Groups[0], groups.Groups[1]
	wantAbout(t, timeout.Runs, manyRuns)
	wantAbout(t, timeout.SucceededBefore, manyRuns/2)
	if timeout.Exact || account.Exact || account.Error != "no such account" || account.Runs < 10 {
		t.Errorf("%+v", groups)
	}
	if timeout.EventID != manyRuns-10 || !account.LastAt.Equal(exact[1].LastAt) {
		t.Errorf("not the newest: %+v, want %+v", groups.Groups, exact)
	}
	recent := time.Now().Add(-time.Hour)
	groups, err = l.Quickly(t.Context(), s.Pool(), []string{"book"}, &recent, 1)
	if err != nil || len(groups.Groups) != 1 || groups.Groups[0].FirstAt.Before(recent) {
		t.Errorf("the biggest of the last hour: %+v, %v", groups, err)
	}
	if groups, err = l.Quickly(t.Context(), s.Pool(), []string{"mail"}, nil, 10); err != nil || len(groups.Groups) != 0 || groups.Exact {
		t.Errorf("of another job type: %+v, %v", groups, err)
	}
}

func exactly(tb testing.TB, s *store.Store, l failures.List) []failures.Group {
	tb.Helper()
	groups, err := l.Exactly(tb.Context(), s.Pool(), nil, nil, 10)
	if err != nil || !groups.Exact || groups.MayMiss != 0 {
		tb.Fatalf("exactly %+v, %v", groups, err)
	}
	for _, g := range groups.Groups {
		if !g.Exact {
			tb.Errorf("not exact: %+v", g)
		}
	}
	return groups.Groups
}

// wantAbout allows six times the standard error of a sample of 128 blocks.
func wantAbout(tb testing.TB, got, want int64) {
	tb.Helper()
	if got < want/2 || got > want*3/2 {
		tb.Errorf("estimated %d, want about %d", got, want)
	}
}
