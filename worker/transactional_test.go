package worker_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/worker"
)

// txCase is a way in which a transactional job type may behave, with the
// expected result.
type txCase struct {
	name     string
	work     func(ctx context.Context, tx pgx.Tx, call int) error
	attempts int // of the job type; 0: 2
	timeout  time.Duration
	backoff  func(int) time.Duration

	effects  int
	calls    int
	state    string // of the run
	tries    int    // attempts of the run and of the job
	jobState string
	errors   []string // each failed attempt's text contains this
}

const (
	endedTx    = "ended its own transaction"
	returnsNil = "returned nil after a statement failed"
)

func txCases() []txCase {
	exec := func(ctx context.Context, tx pgx.Tx, sql string) { _, _ = tx.Exec(ctx, sql) }
	raw := func(ctx context.Context, tx pgx.Tx, sql string) { _, _ = tx.Conn().Exec(ctx, sql) }
	const insert = `INSERT INTO shop.effects VALUES ('later', gen_random_uuid())`
	fails := func(err error) func(context.Context, pgx.Tx, int) error {
		return func(context.Context, pgx.Tx, int) error { return err }
	}
	panics := func(value func() any) func(context.Context, pgx.Tx, int) error {
		return func(context.Context, pgx.Tx, int) error { panic(value()) }
	}
	succeeded := func(c txCase) txCase {
		c.effects, c.state, c.jobState = 1, "succeeded", "completed"
		c.calls, c.tries = max(c.calls, 1), max(c.tries, 1)
		return c
	}
	failed := func(c txCase) txCase {
		c.effects, c.calls, c.state, c.tries, c.jobState = 0, 2, "failed", 2, "discarded"
		if len(c.errors) == 1 {
			c.errors = []string{c.errors[0], c.errors[0]}
		}
		return c
	}

	return []txCase{
		succeeded(txCase{name: "succeeds"}),
		succeeded(txCase{name: "fails twice then succeeds", attempts: 3, calls: 3, tries: 3, errors: []string{"call 1", "call 2"},
			work: func(_ context.Context, _ pgx.Tx, call int) error {
				if call < 3 {
					return fmt.Errorf("call %d", call)
				}
				return nil
			}}),
		failed(txCase{name: "fails for good", errors: []string{"call 1", "call 2"},
			work: func(_ context.Context, _ pgx.Tx, call int) error { return fmt.Errorf("call %d", call) }}),

		failed(txCase{name: "panics with a string", errors: []string{"panic: oh"}, work: panics(func() any { return "oh" })}),
		failed(txCase{name: "panics with an error", errors: []string{"panic: no"}, work: panics(func() any { return errNo })}),
		failed(txCase{name: "panics with a NUL", errors: []string{"panic: o[]h"}, work: panics(func() any { return "o[\x00]h" })}),
		failed(txCase{name: "panics with a cancellation", errors: []string{"panic: JobCancelError: no"},
			work: panics(func() any { return river.JobCancel(errNo) })}),
		failed(txCase{name: "panics over nil", errors: []string{"panic: runtime error: invalid memory address"},
			work: func(context.Context, pgx.Tx, int) error { var e *worker.Event; return errors.New(e.Source) }}),
		failed(txCase{name: "ends its goroutine", errors: []string{"the job ended its goroutine"},
			work: func(context.Context, pgx.Tx, int) error { runtime.Goexit(); return nil }}),
		failed(txCase{name: "error whose text panics", errors: []string{"panic: no text"}, work: fails(brokenError{text: true})}),
		failed(txCase{name: "error whose chain panics", errors: []string{"panic: no chain"}, work: fails(brokenError{})}),

		succeeded(txCase{name: "snoozes then succeeds", calls: 3,
			work: func(_ context.Context, _ pgx.Tx, call int) error {
				if call < 3 {
					return fmt.Errorf("not yet: %w", river.JobSnooze(time.Millisecond))
				}
				return nil
			}}),
		{name: "cancels", calls: 1, state: "cancelled", tries: 1, jobState: "cancelled", errors: []string{"never: JobCancelError: no"},
			work: fails(fmt.Errorf("never: %w", river.JobCancel(errNo)))},

		succeeded(txCase{name: "calls Commit and Rollback", work: func(ctx context.Context, tx pgx.Tx, _ int) error {
			if !errors.Is(tx.Commit(ctx), worker.ErrManagedTx) || !errors.Is(tx.Rollback(ctx), worker.ErrManagedTx) {
				return errors.New("not refused")
			}
			return nil
		}}),
		failed(txCase{name: "calls Commit then fails", errors: []string{"the worker ends this transaction"},
			work: func(ctx context.Context, tx pgx.Tx, _ int) error { return tx.Commit(ctx) }}),

		// The COMMIT of the code has committed the mark too, so the next
		// attempt has nothing to do.
		succeeded(txCase{name: "sends COMMIT", errors: []string{endedTx},
			work: func(ctx context.Context, tx pgx.Tx, _ int) error { exec(ctx, tx, "COMMIT"); return nil }}),
		succeeded(txCase{name: "sends COMMIT then fails", errors: []string{"no"},
			work: func(ctx context.Context, tx pgx.Tx, _ int) error { exec(ctx, tx, "COMMIT"); return errNo }}),
		succeeded(txCase{name: "sends COMMIT then panics", errors: []string{"panic: no"},
			work: func(ctx context.Context, tx pgx.Tx, _ int) error { exec(ctx, tx, "COMMIT"); panic("no") }}),
		succeeded(txCase{name: "sends COMMIT then writes", errors: []string{endedTx},
			work: func(ctx context.Context, tx pgx.Tx, _ int) error {
				exec(ctx, tx, "COMMIT")
				exec(ctx, tx, insert)
				return nil
			}}),
		// The code does the same as the worker would, and continues.
		succeeded(txCase{name: "sends COMMIT and BEGIN then writes",
			work: func(ctx context.Context, tx pgx.Tx, _ int) error {
				raw(ctx, tx, "COMMIT; BEGIN")
				_, err := tx.Exec(ctx, `INSERT INTO shop.effects VALUES ('second half', gen_random_uuid())`)
				return err
			}}),
		succeeded(txCase{name: "sends COMMIT in its only attempt", attempts: 1, errors: []string{"no"},
			work: func(ctx context.Context, tx pgx.Tx, _ int) error { exec(ctx, tx, "COMMIT"); return errNo }}).discarded(),

		failed(txCase{name: "sends ROLLBACK", errors: []string{endedTx},
			work: func(ctx context.Context, tx pgx.Tx, _ int) error { exec(ctx, tx, "ROLLBACK"); return nil }}),
		failed(txCase{name: "sends ROLLBACK then writes", errors: []string{endedTx},
			work: func(ctx context.Context, tx pgx.Tx, _ int) error {
				exec(ctx, tx, "ROLLBACK")
				exec(ctx, tx, insert)
				_, _ = tx.Query(ctx, insert)
				_ = tx.QueryRow(ctx, insert).Scan()
				batch := &pgx.Batch{}
				batch.Queue(insert)
				_ = tx.SendBatch(ctx, batch).Close()
				_, _ = tx.CopyFrom(ctx, pgx.Identifier{"shop", "effects"}, []string{"kind", "event_key"},
					pgx.CopyFromRows([][]any{{"later", [16]byte{}}}))
				if _, err := tx.Begin(ctx); !errors.Is(err, pgx.ErrTxClosed) {
					return errors.New("not refused")
				}
				return nil
			}}),
		failed(txCase{name: "sends ROLLBACK in a savepoint then writes", errors: []string{endedTx},
			work: func(ctx context.Context, tx pgx.Tx, _ int) error {
				savepoint, err := tx.Begin(ctx)
				if err != nil {
					return err
				}
				exec(ctx, savepoint, "ROLLBACK")
				exec(ctx, savepoint, insert)
				_ = savepoint.Commit(ctx)
				return nil
			}}),
		failed(txCase{name: "sends ROLLBACK and BEGIN then writes", errors: []string{endedTx},
			work: func(ctx context.Context, tx pgx.Tx, _ int) error {
				exec(ctx, tx, "ROLLBACK; BEGIN")
				exec(ctx, tx, insert)
				return nil
			}}),
		failed(txCase{name: "sends ROLLBACK AND CHAIN then writes", errors: []string{endedTx},
			work: func(ctx context.Context, tx pgx.Tx, _ int) error {
				exec(ctx, tx, "ROLLBACK AND CHAIN")
				exec(ctx, tx, insert)
				return nil
			}}),

		failed(txCase{name: "sends ROLLBACK and BEGIN over the connection then writes", errors: []string{endedTx},
			work: func(ctx context.Context, tx pgx.Tx, _ int) error {
				raw(ctx, tx, "ROLLBACK; BEGIN")
				exec(ctx, tx, insert)
				return nil
			}}),
		failed(txCase{name: "sends ROLLBACK AND CHAIN in a batch then writes", errors: []string{endedTx},
			work: func(ctx context.Context, tx pgx.Tx, _ int) error {
				batch := &pgx.Batch{}
				batch.Queue("SELECT 1")
				batch.Queue("/* x */rollback and chain")
				_ = tx.SendBatch(ctx, batch).Close()
				exec(ctx, tx, insert)
				return nil
			}}),
		failed(txCase{name: "sends a prepared ROLLBACK AND CHAIN then writes", errors: []string{endedTx},
			work: func(ctx context.Context, tx pgx.Tx, _ int) error {
				_, err := tx.Prepare(ctx, "harmless", "ABORT AND CHAIN")
				if rows, err := tx.Query(ctx, "harmless"); err == nil {
					rows.Close()
				}
				exec(ctx, tx, insert)
				return err
			}}),
		succeeded(txCase{name: "uses CASE and Conn", work: func(ctx context.Context, tx pgx.Tx, _ int) error {
			if _, ok := tx.Conn().TypeMap().TypeForName("uuid"); !ok {
				return errNo
			}
			_, err := tx.Exec(ctx, `SELECT CASE WHEN true THEN 'COMMIT' END`)
			return err
		}}),

		failed(txCase{name: "swallows an SQL error", errors: []string{returnsNil},
			work: func(ctx context.Context, tx pgx.Tx, _ int) error { exec(ctx, tx, "SELECT 1/0"); return nil }}),
		failed(txCase{name: "violates a deferred constraint", errors: []string{"commit: ERROR: duplicate key"},
			work: func(ctx context.Context, tx pgx.Tx, _ int) error {
				exec(ctx, tx, `CREATE TEMP TABLE t (n int UNIQUE DEFERRABLE INITIALLY DEFERRED) ON COMMIT DROP`)
				exec(ctx, tx, `INSERT INTO t VALUES (1), (1)`)
				return nil
			}}),
		succeeded(txCase{name: "uses savepoints", work: func(ctx context.Context, tx pgx.Tx, _ int) error {
			for _, sql := range []string{"SELECT 1/0", insert} {
				err := pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
					_, err := tx.Exec(ctx, sql)
					return errors.Join(err, errNo)
				})
				if !errors.Is(err, errNo) {
					return fmt.Errorf("savepoint: %w", err)
				}
			}
			return pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
				return pgx.BeginFunc(ctx, tx, func(pgx.Tx) error { return nil })
			})
		}}),
		failed(txCase{name: "leaves rows unread", errors: []string{"close them"},
			work: func(ctx context.Context, tx pgx.Tx, _ int) error {
				_, err := tx.Query(ctx, `SELECT generate_series(1, 100000)`)
				return err
			}}),
		failed(txCase{name: "loses its connection", errors: []string{"FATAL: terminating connection"},
			work: func(ctx context.Context, tx pgx.Tx, _ int) error {
				_, err := tx.Exec(ctx, `SELECT pg_terminate_backend(pg_backend_pid())`)
				return err
			}}),

		failed(txCase{name: "times out in a query", timeout: time.Second, errors: []string{"timeout: took longer than its timeout of 1 s"},
			work: func(ctx context.Context, tx pgx.Tx, _ int) error {
				_, err := tx.Exec(ctx, `SELECT pg_sleep(60)`)
				return err
			}}),
		failed(txCase{name: "ignores its context a little", timeout: time.Second, errors: []string{"context already done: took longer than its timeout of 1 s"},
			work: func(ctx context.Context, _ pgx.Tx, _ int) error {
				<-ctx.Done()
				<-time.After(200 * time.Millisecond)
				return nil
			}}),

		failed(txCase{name: "NUL in the error", errors: []string{"a[]b"}, work: fails(errors.New("a[\x00]b"))}),
		failed(txCase{name: "address in the error", errors: []string{"mail to [address] bounced"},
			work: fails(errors.New("mail to canary@example.com bounced"))}),
		failed(txCase{name: "query in the error", errors: []string{`Get "https://sign.example/d[query]": EOF`},
			work: fails(errors.New(`Get "https://sign.example/d?token=canary": EOF`))}),
		failed(txCase{name: "1 MiB of error", errors: []string{strings.Repeat("x", 1994) + " [...]"},
			work: fails(errors.New(strings.Repeat("x", 1<<20)))}),
		failed(txCase{name: "error that is not UTF-8", errors: []string{"a\uFFFDb"}, work: fails(errors.New("a\xff\xfeb"))}),
		failed(txCase{name: "error that prints itself otherwise", errors: []string{"harmless"}, work: fails(loggingError{})}),

		// Errors with a special meaning for the worker or River, in code that
		// does not intend it.
		failed(txCase{name: "returns ErrRunSettled", errors: []string{"the run is settled"}, work: fails(store.ErrRunSettled)}),
		failed(txCase{name: "returns ErrRunLocked", errors: []string{"the run is being worked on"}, work: fails(store.ErrRunLocked)}),
		failed(txCase{name: "returns ErrEventGone", errors: []string{"the event of the run is gone"}, work: fails(store.ErrEventGone)}),
		failed(txCase{name: "returns context.Canceled", errors: []string{"context canceled"}, work: fails(context.Canceled)}),
		failed(txCase{name: "is every error", errors: []string{"any"}, work: fails(anyError{})}),
		failed(txCase{name: "uses resumable steps", errors: []string{"resumable step can only be used within a Worker"},
			work: func(ctx context.Context, _ pgx.Tx, _ int) error {
				river.ResumableStep(ctx, "step", nil, func(context.Context) error { return errNo })
				return nil
			}}),
		succeeded(txCase{name: "backoff panics", calls: 2, tries: 2, errors: []string{"no"},
			backoff: func(int) time.Duration { panic("canary@example.com") }, work: failOnce}),
		succeeded(txCase{name: "backoff is negative", calls: 2, tries: 2, errors: []string{"no"},
			backoff: func(int) time.Duration { return -time.Hour }, work: failOnce}),
	}
}

func failOnce(_ context.Context, _ pgx.Tx, call int) error {
	if call == 1 {
		return errNo
	}
	return nil
}

func (c txCase) discarded() txCase { c.jobState = "discarded"; return c }

func (c txCase) kind() string {
	return "is_" + strings.NewReplacer(" ", "_", ".", "_").Replace(c.name)
}

// All cases are job types of one program on one event, so they must not affect
// each other.
func TestTransactional(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	good := newTxJob("good", nil)
	types := []worker.JobType{good}
	cases := txCases()
	jobs := make([]*txJob, len(cases))
	for i, c := range cases {
		jobs[i] = newTxJob(c.kind(), c.work)
		jobs[i].attempts, jobs[i].timeout, jobs[i].backoff = c.attempts, c.timeout, c.backoff
		types = append(types, jobs[i])
	}
	r.start(types...)
	start := time.Now()
	key := r.record(1, types...)
	r.wait("the good job type", func() bool { return r.run("good", key).State == "succeeded" })
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("the good job type took %s beside the others", took)
	}
	r.waitQuiet()

	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			checkTxCase(t, r, c, jobs[i], key)
		})
	}
	if n := r.effects("second half"); n != 1 {
		t.Errorf("%d second halves", n)
	}
	if n := r.effects("later"); n != 0 {
		t.Errorf("%d effects outside the transaction", n)
	}
	checkCanaries(t, r)
}

// checkTxCase compares the run, the job, the failure and the log of one job
// type with its case.
func checkTxCase(t *testing.T, r *rig, c txCase, job *txJob, key lumin.EventKey) {
	t.Helper()
	got := r.run(job.kind, key)
	if n := r.effects(job.kind); n != c.effects {
		t.Errorf("%d effects, want %d", n, c.effects)
	}
	if n := int(job.calls.Load()); n != c.calls {
		t.Errorf("called %d times, want %d", n, c.calls)
	}
	if got.State != c.state || got.Attempts != c.tries || got.JobState != c.jobState {
		t.Errorf("run %s after %d attempts, job %s; want %s, %d, %s", got.State, got.Attempts, got.JobState, c.state, c.tries, c.jobState)
	}
	checkTexts(t, "job errors", got.JobErrors, c.errors)
	logged := slices.DeleteFunc(r.logs.errorsOf(job.kind), func(s string) bool {
		return strings.HasPrefix(s, "JobSnooze") || strings.HasPrefix(s, "not yet") || s == "nothing to do" || s == "panic: [address]"
	})
	checkTexts(t, "logged errors", logged, c.errors)
	if c.state == "succeeded" {
		if got.Failures != 0 || got.Error != "" {
			t.Errorf("%d failures, error %q", got.Failures, got.Error)
		}
		return
	}
	if got.Failures != 1 || got.FailureState != c.state {
		t.Errorf("%d failures, %s", got.Failures, got.FailureState)
	}
	if c.state == "failed" && !strings.Contains(r.logs.String(), `"msg":"last attempt failed","kind":"`+job.kind+`"`) {
		t.Error("the last attempt is not logged as such")
	}
	checkTexts(t, "errors of the failure", got.FailureErrors, c.errors)
	checkTexts(t, "error of the run", []string{got.Error}, c.errors[len(c.errors)-1:])
}
