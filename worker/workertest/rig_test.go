package workertest_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/riverqueue/river"

	"lumin-ingest/lumin"
	"lumin-ingest/worker"
	"lumin-ingest/worker/workertest"
)

const effectsTable = `CREATE TABLE public.effects (n bigint GENERATED ALWAYS AS IDENTITY, event_key uuid NOT NULL)`

var errNo = errors.New("no, says ada@example.com")

// txJob and plainJob are job types that call a function.
type txJob struct {
	worker.Defaults
	calls atomic.Int32
	work  func(ctx context.Context, tx pgx.Tx, e *worker.Event, call int) error
}

func (*txJob) Kind() string { return "tx_job" }
func (*txJob) Events() []lumin.EventType {
	return []lumin.EventType{lumin.SignatureRequestApproved}
}

func (j *txJob) WorkTx(ctx context.Context, tx pgx.Tx, e *worker.Event) error {
	return j.work(ctx, tx, e, int(j.calls.Add(1)))
}

type plainJob struct {
	worker.Defaults
	calls atomic.Int32
	work  func(ctx context.Context, e *worker.Event, call int) error
}

func (*plainJob) Kind() string              { return "plain_job" }
func (*plainJob) Events() []lumin.EventType { return []lumin.EventType{lumin.AnyEvent} }
func (*plainJob) MaxAttempts() int          { return 3 }

func (j *plainJob) Work(ctx context.Context, e *worker.Event) error {
	return j.work(ctx, e, int(j.calls.Add(1)))
}

// inserts returns a correct job type.
func inserts() *txJob {
	return &txJob{work: func(ctx context.Context, tx pgx.Tx, e *worker.Event, _ int) error { return insert(ctx, tx, e) }}
}

func insert(ctx context.Context, db interface {
	Exec(context.Context, string, ...any) (pgconn.CommandTag, error)
}, e *worker.Event) error {
	_, err := db.Exec(ctx, `INSERT INTO public.effects (event_key) VALUES ($1)`, e.Key.String())
	return err
}

// count returns a function that counts the effects.
func count(t testing.TB, db *workertest.Database) func() int {
	return func() (n int) {
		t.Helper()
		if err := db.Pool.QueryRow(t.Context(), `SELECT count(*) FROM public.effects`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
}

// recorder is a testing.TB that collects failures without failing the test.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	failures []string
}

func (r *recorder) Helper() {}

func (r *recorder) note(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, text)
}

func (r *recorder) Error(args ...any)                 { r.note(fmt.Sprint(args...)) }
func (r *recorder) Errorf(format string, args ...any) { r.note(fmt.Sprintf(format, args...)) }
func (r *recorder) Fatal(args ...any)                 { r.note(fmt.Sprint(args...)); runtime.Goexit() }
func (r *recorder) Fatalf(format string, args ...any) {
	r.note(fmt.Sprintf(format, args...))
	runtime.Goexit()
}

// failures returns the failures of test.
func failures(t *testing.T, test func(t testing.TB)) string {
	t.Helper()
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		test(r)
	}()
	<-done
	return strings.Join(r.failures, "\n")
}

// noticeArgs and noticeWorker form a follow-up job.
type noticeArgs struct {
	OrderID int `json:"order_id"`
}

func (noticeArgs) Kind() string { return "send_notice" }

type noticeWorker struct {
	river.WorkerDefaults[noticeArgs]
	work func(job *river.Job[noticeArgs]) error
}

func (w noticeWorker) Work(_ context.Context, job *river.Job[noticeArgs]) error { return w.work(job) }

func hour(int) error { return river.JobSnooze(time.Hour) }
