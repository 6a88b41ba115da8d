package worker_test

import (
	"context"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"lumin-ingest/worker"
)

// poison is an event that does harm in every batch that it is part of.
type poison struct {
	name  string
	harm  func(ctx context.Context, tx pgx.Tx) error
	state string // of its run; "": failed
	error string // of each attempt
}

func poisons() []poison {
	exec := func(sql string) func(context.Context, pgx.Tx) error {
		return func(ctx context.Context, tx pgx.Tx) error {
			_, _ = tx.Exec(ctx, sql)
			return nil
		}
	}
	return []poison{
		{name: "fails", harm: func(context.Context, pgx.Tx) error { return errNo }, error: "no"},
		{name: "panics", harm: func(context.Context, pgx.Tx) error { panic("oh") }, error: "panic: oh"},
		{name: "ends its goroutine", harm: func(context.Context, pgx.Tx) error { runtime.Goexit(); return nil }, error: "the job ended its goroutine"},
		{name: "cancels", harm: func(context.Context, pgx.Tx) error { return river.JobCancel(errNo) }, state: "cancelled", error: "no"},
		{name: "fails for good", harm: func(context.Context, pgx.Tx) error { return worker.JobFail(errNo) }, error: "no"},
		{name: "sends ROLLBACK", harm: exec(`ROLLBACK`), error: endedTx},
		{name: "sends ROLLBACK and BEGIN", harm: exec(`ROLLBACK; BEGIN`), error: endedTx},
		{name: "sends COMMIT", harm: exec(`COMMIT`), state: "succeeded"},
		{name: "sends COMMIT and fails", state: "succeeded", harm: func(ctx context.Context, tx pgx.Tx) error {
			_, _ = tx.Exec(ctx, `COMMIT`)
			return errNo
		}},
		{name: "sends COMMIT and BEGIN", state: "succeeded", harm: func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Conn().Exec(ctx, `COMMIT; BEGIN`)
			return err
		}},
		{name: "swallows an SQL error", harm: exec(`SELECT 1/0`), error: returnsNil},
		{name: "leaves rows unread", error: "close them", harm: func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Query(ctx, `SELECT generate_series(1, 100000)`)
			return err
		}},
		{name: "violates a deferred constraint", error: "duplicate key", harm: exec(
			`CREATE TEMP TABLE t (n int UNIQUE DEFERRABLE INITIALLY DEFERRED) ON COMMIT DROP; INSERT INTO t VALUES (1), (1)`)},
		{name: "loses its connection", error: "terminating connection", harm: func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, `SELECT pg_terminate_backend(pg_backend_pid())`)
			return err
		}},
		{name: "leaves its session read only", state: "succeeded", harm: exec(`SET default_transaction_read_only = on`)},
		{name: "drops the prepared statements", harm: exec(`DEALLOCATE ALL; SELECT 1/0`), error: returnsNil},
		{name: "hangs in a query", error: "took longer than its timeout of 3 s", harm: func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, `SELECT pg_sleep(60)`)
			return err
		}},
		{name: "hangs in a query without the context", error: "took longer than its timeout of 3 s", harm: func(_ context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(context.Background(), `SELECT pg_sleep(60)`)
			return err
		}},
		{name: "keeps running after its timeout", error: "took longer than its timeout of 3 s", harm: func(ctx context.Context, tx pgx.Tx) error {
			<-time.After(11 * time.Second)
			_, err := tx.Exec(ctx, `INSERT INTO shop.effects VALUES ('later', gen_random_uuid())`)
			return err
		}},
	}
}

// A poisoned event in a batch of 128 fails alone, with its own error. Each of
// the others has its effect in its first attempt.
func TestPoisonInBatch(t *testing.T) {
	t.Parallel()
	for _, p := range poisons() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			testPoison(t, p)
		})
	}
}

func testPoison(t *testing.T, p poison) {
	const size, bad = 128, "request-77"
	r := newRig(t)
	job := &batchJob{kind: "poisoned"}
	if strings.Contains(p.error, "timeout") {
		job.timeout = 3 * time.Second
	}
	job.work = func(ctx context.Context, tx pgx.Tx, events []*worker.Event) error {
		if slices.ContainsFunc(events, func(e *worker.Event) bool { return e.SignatureRequestID == bad }) {
			return p.harm(ctx, tx)
		}
		return nil
	}
	key := r.gathered(job, size)[76]
	r.waitQuiet()
	job.check(t)
	if sizes := job.sizes(); slices.Max(sizes) != size || len(sizes) > 1+2*size {
		t.Errorf("sizes of the batches: %v", sizes)
	}
	if n := r.effects("later"); n != 0 {
		t.Errorf("%d effects outside the transaction", n)
	}
	if p.state == "succeeded" {
		r.checkOnce(job.kind, size+1)
		return
	}
	r.checkOnce(job.kind, size) // all but one
	got := r.run(job.kind, key)
	want, tries := "failed", 2
	if p.state != "" {
		want = p.state
	}
	if p.name == "cancels" || p.name == "fails for good" {
		tries = 1
	}
	if got.State != want || got.Attempts != tries || len(got.JobErrors) != tries || got.Failures != 1 || !strings.Contains(got.Error, p.error) {
		t.Errorf("want %s after %d attempts with %q: %+v", want, tries, p.error, got)
	}
	if n := r.count(`SELECT count(*) FROM lumin.river_job WHERE errors IS NOT NULL`); n != 1 {
		t.Errorf("%d jobs have an error: %v", n, r.rows(`SELECT args, errors FROM lumin.river_job WHERE errors IS NOT NULL LIMIT 3`))
	}
}

// A batch of one behaves like WorkTx in all of its cases.
func TestBatchOfOne(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cases := txCases()
	var types []worker.JobType
	for _, c := range cases {
		ordinary := newTxJob(c.kind(), c.work)
		ordinary.attempts, ordinary.timeout, ordinary.backoff = c.attempts, c.timeout, c.backoff
		types = append(types, asBatch{ordinary})
	}
	r.start(types...)
	key := r.record(1, types...)
	r.waitQuiet()
	for i, c := range cases {
		got, kind := r.run(types[i].Kind(), key), types[i].Kind()
		if r.effects(kind) != c.effects || got.State != c.state || got.Attempts != c.tries || got.JobState != c.jobState {
			t.Errorf("%s: %d effects, want %d; run %s after %d attempts, job %s; want %s, %d, %s", c.name, r.effects(kind), c.effects,
				got.State, got.Attempts, got.JobState, c.state, c.tries, c.jobState)
		}
		for n, text := range c.errors {
			if _, cut, found := strings.Cut(text, ": took longer"); found { // the step at which it ended may be another one
				c.errors[n] = "took longer" + cut
			}
		}
		checkTexts(t, c.name+": job errors", got.JobErrors, c.errors)
	}
	if n := r.effects("later"); n != 0 {
		t.Errorf("%d effects outside the transaction", n)
	}
	checkCanaries(t, r)
}

// asBatch makes a transactional job type a batch job type.
type asBatch struct{ *txJob }

func (b asBatch) WorkBatch(ctx context.Context, tx pgx.Tx, events []*worker.Event) error {
	return b.WorkTx(ctx, tx, events[0])
}
