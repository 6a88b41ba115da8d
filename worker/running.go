package worker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/riverqueue/river/rivertype"

	"lumin-ingest/store"
)

// timeoutGrace is the time after an attempt's timeout that remains for settling
// or rolling back. An attempt that runs longer is overdue.
const timeoutGrace = 5 * time.Second

// runningJobs keeps track of the running jobs.
type runningJobs struct {
	mu   sync.Mutex
	jobs map[*runningJob]bool
}

// runningJob is one attempt of a job while it runs. The middleware creates it,
// and the worker of the job completes it. A job without a deadline is never
// overdue: only the internal jobs have none, and they always end.
type runningJob struct {
	kind, queue string

	mu       *sync.Mutex // of runningJobs
	deadline time.Time   // guarded by mu, zero if none

	// Only the goroutine of the job uses the fields below. While it waits for its
	// batch, the flusher may set event.
	timeout time.Duration
	expired func() bool    // reports whether the timeout ended the context of the worker; nil without a timeout
	attempt *store.Attempt // nil if the job has no run
	event   *Event         // nil until the event is loaded
}

// runningKey is the key of the *runningJob in a job's context.
type runningKey struct{}

// begin adds a job until ended is called.
func (r *runningJobs) begin(ctx context.Context, row *rivertype.JobRow) (_ context.Context, job *runningJob, ended func()) {
	job = &runningJob{kind: row.Kind, queue: row.Queue, mu: &r.mu}
	r.mu.Lock()
	r.jobs[job] = true
	r.mu.Unlock()
	return context.WithValue(ctx, runningKey{}, job), job, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.jobs, job)
	}
}

// runningJobOf returns the running job of a context that begin returned, or of
// one derived from it. For any other context it returns a new, unused one.
func runningJobOf(ctx context.Context) *runningJob {
	if job, ok := ctx.Value(runningKey{}).(*runningJob); ok {
		return job
	}
	return &runningJob{mu: &sync.Mutex{}}
}

// setTimeout stores the timeout of the job. ctx must be the context that River
// passed to the worker: River sets the deadline inside the middleware.
func (j *runningJob) setTimeout(ctx context.Context, timeout time.Duration) {
	j.timeout = timeout
	j.expired = func() bool { return errors.Is(ctx.Err(), context.DeadlineExceeded) }
	j.setDeadline(ctx)
}

// setDeadline stores when the code that runs now must end.
func (j *runningJob) setDeadline(ctx context.Context) {
	if deadline, bounded := ctx.Deadline(); bounded {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.deadline = deadline
	}
}

// run returns the run of the job. It is zero if the job has none.
func (j *runningJob) run() store.JobArgs {
	if j.attempt == nil {
		return store.JobArgs{}
	}
	return j.attempt.JobArgs
}

// eventAttrs identifies the event of the job in a log line, as far as it is
// known.
func (j *runningJob) eventAttrs() []slog.Attr {
	var attrs []slog.Attr
	if j.event != nil {
		attrs = append(attrs, slog.Int64("event_id", j.event.ID))
	}
	if j.attempt != nil {
		attrs = append(attrs, slog.String("event_key", j.attempt.EventKey.String()))
	}
	if j.event != nil && j.event.SignatureRequestID != "" {
		attrs = append(attrs, slog.String("signature_request_id", j.event.SignatureRequestID))
	}
	return attrs
}

// kinds counts the running jobs by kind.
func (r *runningJobs) kinds() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	kinds := map[string]int{}
	for job := range r.jobs {
		kinds[job.kind]++
	}
	return kinds
}
