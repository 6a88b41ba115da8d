package worker_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store/replay"
	"lumin-ingest/worker"
)

// contents returns a hash of the rows of each table in the schemas lumin and
// shop.
func (r *rig) contents() map[string]string {
	r.t.Helper()
	hashes := map[string]string{}
	for _, table := range r.rows(`SELECT oid::regclass FROM pg_class WHERE relkind = 'r' AND relnamespace IN ('lumin'::regnamespace, 'shop'::regnamespace)`) {
		hashes[table] = pgtest.Value[string](r.t, r.pool, `SELECT md5(coalesce(string_agg(t::text, E'\n' ORDER BY t::text), '')) FROM `+table+` t`)
	}
	return hashes
}

// trials returns trials with these job types.
func (r *rig) trials(types ...worker.JobType) *worker.Trials {
	r.t.Helper()
	rt, err := worker.New(worker.Config{Store: r.store, Registry: registryOf(types...), Logger: r.logger})
	if err != nil {
		r.t.Fatal(err)
	}
	trials, err := rt.Trials(r.ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(trials.Close)
	return trials
}

// fail makes all runs failed.
func (r *rig) fail() {
	r.exec(`UPDATE lumin.runs SET state = 'failed', error = 'as before', finished_at = now()`)
}

// try tries the runs of a kind that a replay would take.
func (r *rig) try(trials *worker.Trials, kind string, filter replay.Filter) (results []worker.Trial) {
	r.t.Helper()
	runs, err := replay.New(r.store).Matching(r.ctx, filter, kind, 100)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, run := range runs {
		trial, err := trials.Try(r.ctx, run)
		if err != nil {
			r.t.Fatal(err)
		}
		results = append(results, trial)
	}
	return results
}

// tryOne tries one failed run, the same each time. The server may take a moment
// to notice that the session of the trial before was closed.
func (r *rig) tryOne(job worker.JobType) worker.Trial {
	r.t.Helper()
	if r.count(`SELECT count(*) FROM lumin.runs`) == 0 {
		r.record(1, job)
		r.fail()
	}
	trials := r.trials(job)
	var results []worker.Trial
	r.wait("a trial of a run that is not locked", func() bool {
		results = r.try(trials, job.Kind(), replay.Filter{Status: replay.Failed})
		return len(results) != 1 || results[0].Outcome != worker.Busy
	})
	if len(results) != 1 {
		r.t.Fatalf("%d runs were tried, want 1", len(results))
	}
	return results[0]
}

func (r *rig) wantContents(before map[string]string) {
	r.t.Helper()
	for table, hash := range r.contents() {
		if before[table] != hash {
			r.t.Errorf("%s has changed: %v", table, r.rows(`SELECT * FROM `+table))
		}
	}
}

func wantTrial(t *testing.T, got worker.Trial, outcome worker.TrialOutcome, text string) {
	t.Helper()
	if got.Outcome != outcome || (text == "") != (got.Err == nil) || (text != "" && !strings.Contains(got.Err.Error(), text)) {
		t.Errorf("%s, %v; want %s, %q", got.Outcome, got.Err, outcome, text)
	}
}

// A trial of everything changes no row, sends no notification, and says what each
// run would do.
func TestTrialChangesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	single := newTxJob("single", func(ctx context.Context, tx pgx.Tx, _ int) error {
		if !worker.Trying(ctx) {
			return errors.New("not a trial")
		}
		if err := river.RecordOutput(ctx, "output"); err != nil {
			return err
		}
		_, err := river.ClientFromContext[pgx.Tx](ctx).InsertTx(ctx, tx, noticeArgs{}, nil)
		return err
	})
	batch := &batchJob{kind: "batch"}
	registry := registryOf(single, batch)
	worker.AddFollowUp(registry, noticeWorker{})
	rt, err := worker.New(worker.Config{Store: r.store, Registry: registry, Logger: r.logger})
	if err != nil {
		t.Fatal(err)
	}
	trials, err := rt.Trials(r.ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer trials.Close()
	r.recordMany(1, 3, single, batch)
	r.exec(`INSERT INTO lumin.job_types (kind, events, sources, transactional, queue) VALUES ('single', '{}', '{}', true, 'default')`)
	listener := pgtest.Conn(t, r.url)
	pgtest.Exec(t, listener, `LISTEN "lumin.river_insert"`)

	for _, test := range []struct {
		status replay.Status
		set    string
	}{
		{replay.Retrying, `UPDATE lumin.river_job SET state = 'retryable'`},
		{replay.Failed, `UPDATE lumin.runs SET state = 'failed', error = 'as before', finished_at = now()`},
		{replay.Cancelled, `UPDATE lumin.runs SET state = 'cancelled', finished_at = now()`},
		{replay.Succeeded, `UPDATE lumin.runs SET state = 'succeeded', finished_at = now()`},
		{replay.Missing, `DELETE FROM lumin.runs WHERE job_kind = 'single'`},
	} {
		r.exec(test.set)
		before := r.contents()
		want := map[string][]worker.TableChanges{
			"single": {{Table: "lumin.river_job", Inserted: 1}, {Table: "shop.effects", Inserted: 1}},
			"batch":  {{Table: "shop.effects", Inserted: 1}},
		}
		for kind, changes := range want {
			if test.status == replay.Missing && kind == "batch" {
				continue
			}
			results := r.try(trials, kind, replay.Filter{Status: test.status, Kinds: []string{kind}})
			if len(results) != 3 {
				t.Errorf("%s: %d runs of %s were tried, want 3", test.status, len(results), kind)
			}
			for _, got := range results {
				wantTrial(t, got, worker.WouldSucceed, "")
				if !slices.Equal(got.Changes, changes) {
					t.Errorf("%s: %s changes %+v, want %+v", test.status, kind, got.Changes, changes)
				}
			}
		}
		r.wantContents(before)
	}
	r.exec(`SELECT pg_notify('lumin.river_insert', 'the only one')`)
	if n, err := listener.WaitForNotification(r.ctx); err != nil || n.Payload != "the only one" {
		t.Errorf("notified: %v, %v", n, err)
	}
}

// The event of a trial is that of an attempt.
func TestTrialSeesTheEvent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var keys []string
	job := &batchJob{kind: "sees", work: func(_ context.Context, _ pgx.Tx, events []*worker.Event) error {
		keys = append(keys, events[0].IdempotencyKey())
		return nil
	}}
	r.start(job)
	r.record(1, job)
	r.waitQuiet()
	trials := r.trials(job)
	r.try(trials, "sees", replay.Filter{Status: replay.Succeeded, Kinds: []string{"sees"}})
	r.fail()
	r.try(trials, "sees", replay.Filter{Status: replay.Failed})
	if len(keys) != 3 || keys[0] == keys[1] || keys[0] != keys[2] {
		t.Errorf("keys %q: want one, another for a succeeded run, the first again for a failed one", keys)
	}
}

// Failures end a trial as they end an attempt.
func TestTrialOutcomes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.exec(`CREATE TABLE shop.parents (id int PRIMARY KEY)`)
	r.exec(`CREATE TABLE shop.children (id int REFERENCES shop.parents DEFERRABLE INITIALLY DEFERRED)`)
	for name, test := range map[string]struct {
		work    func(context.Context, pgx.Tx, int) error
		outcome worker.TrialOutcome
		text    string
	}{
		"error":   {func(context.Context, pgx.Tx, int) error { return errors.New("no, ada@example.com") }, worker.WouldFail, "no, [address]"},
		"panic":   {func(context.Context, pgx.Tx, int) error { panic("boom") }, worker.WouldFail, "panic: boom"},
		"cancel":  {func(context.Context, pgx.Tx, int) error { return river.JobCancel(errNo) }, worker.WouldFail, "no"},
		"snooze":  {func(context.Context, pgx.Tx, int) error { return river.JobSnooze(time.Hour) }, worker.WouldSnooze, "1h0m0s"},
		"timeout": {func(ctx context.Context, _ pgx.Tx, _ int) error { <-ctx.Done(); return ctx.Err() }, worker.WouldFail, "took longer than its timeout of 500 ms"},
		"slow statement": {func(ctx context.Context, tx pgx.Tx, _ int) error {
			_, err := tx.Exec(ctx, `SELECT pg_sleep(60)`)
			return err
		}, worker.WouldFail, "took longer than its timeout of 500 ms"},
		"unread rows": {func(ctx context.Context, tx pgx.Tx, _ int) error {
			_, err := tx.Query(ctx, `SELECT 1`)
			return err
		}, worker.WouldFail, "before it had read or closed the rows"},
		"ignored error": {func(ctx context.Context, tx pgx.Tx, _ int) error {
			_, _ = tx.Exec(ctx, `SELECT 1/0`)
			return nil
		}, worker.WouldFail, "returned nil after a statement failed"},
		"broken connection": {func(ctx context.Context, tx pgx.Tx, _ int) error {
			_, err := tx.Exec(ctx, `SELECT pg_terminate_backend(pg_backend_pid())`)
			return err
		}, worker.WouldFail, "terminating connection"},
		"deferred constraint": {func(ctx context.Context, tx pgx.Tx, _ int) error {
			_, err := tx.Exec(ctx, `INSERT INTO shop.children VALUES (1)`)
			return err
		}, worker.WouldFail, "violates foreign key constraint"},
		"checked constraints": {func(ctx context.Context, tx pgx.Tx, _ int) error {
			_, err := tx.Exec(ctx, `SET CONSTRAINTS ALL IMMEDIATE`)
			return err
		}, worker.WouldSucceed, ""},
		"Commit": {func(ctx context.Context, tx pgx.Tx, _ int) error { return tx.Commit(ctx) }, worker.WouldFail, worker.ErrManagedTx.Error()},
		"CASE END": {func(ctx context.Context, tx pgx.Tx, _ int) error {
			_, err := tx.Exec(ctx, `SELECT CASE WHEN true THEN 1 END`)
			return err
		}, worker.WouldSucceed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			job := newTxJob("ends", test.work)
			if strings.Contains(test.text, "500 ms") {
				job.timeout = 500 * time.Millisecond
			}
			wantTrial(t, r.tryOne(job), test.outcome, test.text)
			if n := r.effects("ends"); n != 0 {
				t.Errorf("%d effects", n)
			}
		})
	}
}

// One bad event does not affect the trials of the others.
func TestTrialsAreApart(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	job := newTxJob("apart", func(ctx context.Context, tx pgx.Tx, call int) error {
		if call == 2 {
			_, _ = tx.Conn().Exec(ctx, `COMMIT`)
			_, _ = tx.Conn().Exec(ctx, `SELECT pg_advisory_lock(1)`)
			_, _ = tx.Conn().Exec(ctx, `SET search_path = nowhere`)
		}
		var path string
		var locked bool
		err := tx.QueryRow(ctx, `SELECT current_setting('search_path'), EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 1 AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))`).Scan(&path, &locked)
		if err == nil && (path == "nowhere" || locked) {
			err = errors.New("the session was used before")
		}
		return err
	})
	r.recordMany(1, 3, job)
	r.fail()
	results := r.try(r.trials(job), "apart", replay.Filter{Status: replay.Failed})
	for i, want := range []worker.TrialOutcome{worker.WouldSucceed, worker.CannotBeTried, worker.WouldSucceed} {
		if results[i].Outcome != want {
			t.Errorf("trial %d: %s, %v, want %s", i, results[i].Outcome, results[i].Err, want)
		}
	}
}

// What others hold makes a trial give way.
func TestTrialOfWhatIsLocked(t *testing.T) {
	t.Parallel()
	for name, lock := range map[string]string{"run": `SELECT FROM lumin.runs FOR UPDATE`, "row": `SELECT FROM shop.totals FOR UPDATE`, "table": `LOCK TABLE shop.effects`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.exec(`CREATE TABLE shop.totals AS SELECT 1 AS n`)
			job := newTxJob("waits", func(ctx context.Context, tx pgx.Tx, _ int) error {
				_, err := tx.Exec(ctx, `UPDATE shop.totals SET n = n + 1`)
				return err
			})
			r.record(1, job)
			r.fail()
			trials := r.trials(job)
			release := pgtest.Hold(t, r.url, lock)
			start := time.Now()
			got := r.try(trials, "waits", replay.Filter{Status: replay.Failed})[0]
			if took := time.Since(start); got.Outcome != worker.Busy || took > 5*time.Second {
				t.Errorf("%s, %v after %s, want %s", got.Outcome, got.Err, took, worker.Busy)
			}
			release()
			wantTrial(t, r.try(trials, "waits", replay.Filter{Status: replay.Failed})[0], worker.WouldSucceed, "")
		})
	}
}

// Code that ignores its timeout keeps neither its transaction nor the trials of
// others.
func TestTrialOfCodeThatHangs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	release := make(chan struct{})
	defer close(release)
	job := newTxJob("hangs", func(context.Context, pgx.Tx, int) error { <-release; return nil })
	job.timeout = time.Second
	other := newTxJob("other", nil)
	r.record(1, job, other)
	r.fail()
	trials := r.trials(job, other)
	wantTrial(t, r.try(trials, "hangs", replay.Filter{Status: replay.Failed})[0], worker.WouldFail, "keeps running after its timeout")
	wantTrial(t, r.try(trials, "other", replay.Filter{Status: replay.Failed})[0], worker.WouldSucceed, "")
	r.wait("the end of the transaction", func() bool {
		return r.count(`SELECT count(*) FROM pg_locks WHERE relation = 'shop.effects'::regclass`) == 0
	})
}

// The end of the context ends a trial without a result.
func TestTrialInterrupted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, cancel := context.WithCancel(r.ctx)
	job := newTxJob("waits", func(ctx context.Context, _ pgx.Tx, _ int) error { cancel(); <-ctx.Done(); return nil })
	r.record(1, job)
	r.fail()
	before := r.contents()
	runs, err := replay.New(r.store).Matching(r.ctx, replay.Filter{Status: replay.Failed}, "waits", 1)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.trials(job).Try(ctx, runs[0]); !errors.Is(err, context.Canceled) {
		t.Errorf("%+v, %v", got, err)
	}
	r.wantContents(before)
}

// The code gets recovered events too, if a replay of missing runs would work them.
func TestTrialOfRecovered(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	job := newTxJob("books", nil)
	r.record(1)
	r.exec(`UPDATE lumin.events SET source = 'recovered'`)
	r.exec(`INSERT INTO lumin.job_types (kind, events, sources, transactional, queue) VALUES ('books', '{}', '{}', true, 'default')`)
	results := r.try(r.trials(job), "books", replay.Filter{Status: replay.Missing, Kinds: []string{"books"}})
	if len(results) != 1 {
		t.Fatalf("%d runs were tried, want 1", len(results))
	}
	wantTrial(t, results[0], worker.WouldSucceed, "")
}
