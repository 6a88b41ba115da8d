package app

import (
	"strings"
	"testing"
	"time"

	"lumin-ingest/admin/window"
	"lumin-ingest/store/replay"
)

// The result of --wait distinguishes success from remaining failures, even if
// another replay took some of the runs.
func TestProgressResult(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, c := range map[string]struct {
		state    string
		status   replay.Status
		enqueued int64
		total    int64
		runs     map[string]int64
		later    int64
		note     string
		want     string // of the error; empty: success
	}{
		"all succeeded":        {state: "done", enqueued: 3, total: 3, runs: map[string]int64{"succeeded": 3}},
		"nothing was left":     {state: "done"},
		"some failed":          {state: "done", enqueued: 3, total: 3, runs: map[string]int64{"succeeded": 2, "failed": 1}, want: "2 succeeded, 1 failed, 0 cancelled"},
		"dismissed":            {state: "done", enqueued: 8, total: 8, runs: map[string]int64{"cancelled": 2, "dismissed": 5}, later: 1, want: "0 succeeded, 0 failed, 2 cancelled, 5 dismissed, 1 replayed again later or removed"},
		"replayed again later": {state: "done", enqueued: 3, total: 3, runs: map[string]int64{"succeeded": 2}, later: 1, want: "2 succeeded, 0 failed, 0 cancelled, 1 replayed again later or removed"},
		"retried in River":     {state: "done", enqueued: 3, total: 3, runs: map[string]int64{"succeeded": 2, "pending": 1}, want: "2 succeeded, 0 failed, 0 cancelled, 1 pending again"},
		"still running":        {state: "cancelled", enqueued: 3, total: 3, runs: map[string]int64{"pending": 1}, want: "2 runs were not replayed"},
		"taken by another":     {state: "done", enqueued: 6, total: 100, runs: map[string]int64{}, want: "0 succeeded, 100 others were settled in another way"},
		"partly by another":    {state: "done", enqueued: 6, total: 6, runs: map[string]int64{"succeeded": 4}, want: "4 succeeded, 2 others"},
		"of unknown job types": {state: "done", enqueued: 1, total: 1, runs: map[string]int64{"succeeded": 1}, note: "were left", want: "were left"},
		"refused":              {state: "refused", note: "no filter", want: "refused: no filter"},
		"cancelled half-way":   {state: "cancelled", enqueued: 200, total: 200, runs: map[string]int64{"succeeded": 92}, want: "108 runs were not replayed"},
		"decoded":              {state: "done", status: replay.Unrecognized, enqueued: 2, total: 3, runs: map[string]int64{"succeeded": 2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := progress{
				order: replay.Order{ID: 7, State: c.state, Filter: replay.Filter{Status: c.status}, Enqueued: c.enqueued, Error: c.note, FinishedAt: &now},
				total: c.total, exact: true, runs: c.runs, later: c.later, finished: true,
			}
			var out strings.Builder
			err := p.result(&out)
			if (c.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if err == nil && !strings.Contains(out.String(), "replay 7 done") {
				t.Errorf("said %q", out.String())
			}
		})
	}
}

// Runs that a cancelled replay has restored do not count as failed by it,
// although they keep its number.
func TestProgressOfCancelled(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	conn := connect(t, url)
	execute(t, conn, `
		INSERT INTO lumin.replays (status, state, planned, enqueued, withdrawn, finished_at) VALUES ('failed', 'cancelled', 5, 5, 3, now());
		INSERT INTO lumin.runs (event_key, job_kind, event_id, state, replay_id, job_id, finished_at)
		SELECT gen_random_uuid(), 'book', n, CASE WHEN n < 3 THEN 'succeeded' ELSE 'failed' END, 1, CASE WHEN n < 3 THEN n END, now() FROM generate_series(1, 5) n`)
	i := startInstance(t, url)
	p, err := readProgress(t.Context(), window.New(i.Store()), 1)
	if want := "cancelled: 5 of 5 enqueued, 2 succeeded, 0 failed, 0 cancelled, 0 pending, 3 restored"; err != nil || !p.finished || p.String() != want {
		t.Errorf("%s, %v, want %s", p, err, want)
	}
}

// Dismissed runs and those that a later replay has taken are named, and the numbers
// add up.
func TestProgressOfDone(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	conn := connect(t, url)
	execute(t, conn, `
		INSERT INTO lumin.replays (status, state, planned, enqueued, finished_at) VALUES ('failed', 'done', 8, 8, now());
		INSERT INTO lumin.runs (event_key, job_kind, event_id, state, replay_id, job_id, finished_at)
		SELECT gen_random_uuid(), 'book', n, CASE WHEN n < 3 THEN 'cancelled' ELSE 'dismissed' END, n / 8 + 1, n, now() FROM generate_series(1, 8) n`)
	i := startInstance(t, url)
	p, err := readProgress(t.Context(), window.New(i.Store()), 1)
	if want := "done: 8 of 8 enqueued, 0 succeeded, 0 failed, 2 cancelled, 0 pending, 5 dismissed, 1 replayed again later or removed"; err != nil || p.String() != want {
		t.Errorf("%s, %v, want %s", p, err, want)
	}
}

// An estimated total is shown as one until all runs are enqueued. Then their number
// is the total.
func TestProgressOfEstimate(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	conn := connect(t, url)
	execute(t, conn, `INSERT INTO lumin.replays (status, state, planned, planned_exactly, enqueued) VALUES ('failed', 'running', 1234567, false, 20000)`)
	i := startInstance(t, url)
	p, err := readProgress(t.Context(), window.New(i.Store()), 1)
	if want := "running: 20000 of about 1.2 million enqueued, "; err != nil || !strings.HasPrefix(p.String(), want) {
		t.Errorf("%s, %v, want %s", p, err, want)
	}
	execute(t, conn, `UPDATE lumin.replays SET enqueued = 1200000, enqueued_at = now()`)
	if p, err = readProgress(t.Context(), window.New(i.Store()), 1); err != nil || !strings.HasPrefix(p.String(), "running: 1200000 of 1200000 enqueued, ") || !p.finished {
		t.Errorf("%s, %v", p, err)
	}
}
