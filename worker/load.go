package worker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/riverqueue/river/rivertype"
)

// QueueLoad shows how busy the workers of one queue are in this program.
type QueueLoad struct {
	Queue   string
	Workers int            // most jobs that run at once
	Busy    int            // jobs that are running
	Overdue map[string]int // jobs still running 5 s after their timeout, by kind
}

// Stuck reports whether each worker is held by an overdue job, so that no worker is
// left for other jobs.
func (l QueueLoad) Stuck() bool {
	overdue := 0
	for _, n := range l.Overdue {
		overdue += n
	}
	return overdue >= l.Workers
}

// String describes a queue that is stuck.
func (l QueueLoad) String() string {
	return fmt.Sprintf("queue %s: all of its workers (%d) are held by jobs that ignore their timeout (%s)", l.Queue, l.Workers, counts(l.Overdue))
}

// counts formats counts of jobs by kind.
func counts(byKind map[string]int) string {
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(byKind)) {
		parts = append(parts, fmt.Sprintf("%s: %d", kind, byKind[kind]))
	}
	return strings.Join(parts, ", ")
}

// atWork keeps track of the running jobs.
type atWork struct {
	mu   sync.Mutex
	jobs map[*runningJob]bool
}

// runningJob is one running job. A job without a deadline is never overdue: only the
// program's own jobs have none, and they always end.
type runningJob struct {
	kind, queue string

	mu       *sync.Mutex // of atWork
	deadline time.Time
}

// runningKey is the key of the *runningJob in a job's context.
type runningKey struct{}

// begin adds a job until ended is called.
func (w *atWork) begin(ctx context.Context, row *rivertype.JobRow) (_ context.Context, ended func()) {
	job := &runningJob{kind: row.Kind, queue: row.Queue, mu: &w.mu}
	w.mu.Lock()
	w.jobs[job] = true
	w.mu.Unlock()
	return context.WithValue(ctx, runningKey{}, job), func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.jobs, job)
	}
}

// noteDeadline stores the deadline of the job with this context. River sets the
// deadline only inside the middleware that calls begin.
func noteDeadline(ctx context.Context) {
	job, ok := ctx.Value(runningKey{}).(*runningJob)
	if deadline, bounded := ctx.Deadline(); ok && bounded {
		job.mu.Lock()
		defer job.mu.Unlock()
		job.deadline = deadline
	}
}

// kinds counts the running jobs by kind.
func (w *atWork) kinds() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	kinds := map[string]int{}
	for job := range w.jobs {
		kinds[job.kind]++
	}
	return kinds
}

// load returns the load of queues with these numbers of workers.
func (w *atWork) load(workers map[string]int, now time.Time) []QueueLoad {
	w.mu.Lock()
	defer w.mu.Unlock()
	var loads []QueueLoad
	for _, queue := range slices.Sorted(maps.Keys(workers)) {
		l := QueueLoad{Queue: queue, Workers: workers[queue], Overdue: map[string]int{}}
		for job := range w.jobs {
			if job.queue != queue {
				continue
			}
			l.Busy++
			if !job.deadline.IsZero() && now.Sub(job.deadline) >= afterwards {
				l.Overdue[job.kind]++
			}
		}
		loads = append(loads, l)
	}
	return loads
}

// Load returns the load of each queue of this program, including its own two.
func (r *Runtime) Load() []QueueLoad { return r.atWork.load(r.queues, time.Now()) }

// Stuck lists the stuck queues: see [QueueLoad.Stuck].
func (r *Runtime) Stuck() []QueueLoad {
	return slices.DeleteFunc(r.Load(), func(l QueueLoad) bool { return !l.Stuck() })
}

// Unfinished counts the running jobs by kind. After a [Runtime.Stop] that timed out,
// these are the jobs that ignore the end of their context.
func (r *Runtime) Unfinished() map[string]int { return r.atWork.kinds() }

// loadCollector reports the load to Prometheus.
type loadCollector struct {
	load  func() []QueueLoad
	kinds map[string][]string // by queue; each kind has a value from the start

	workers, busy, overdue *prometheus.Desc
}

func newLoadCollector(load func() []QueueLoad, kinds map[string][]string) *loadCollector {
	return &loadCollector{
		load: load, kinds: kinds,
		workers: prometheus.NewDesc("lumin_workers", "Jobs that this program can run at once, by queue.", []string{"queue"}, nil),
		busy:    prometheus.NewDesc("lumin_workers_busy", "Jobs that this program is running, by queue.", []string{"queue"}, nil),
		overdue: prometheus.NewDesc("lumin_jobs_overdue", "Jobs that are still running 5 s after their timeout, by queue and kind.", []string{"queue", "kind"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *loadCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.workers
	out <- c.busy
	out <- c.overdue
}

// Collect implements prometheus.Collector.
func (c *loadCollector) Collect(out chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, value int, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value), labels...)
	}
	for _, l := range c.load() {
		gauge(c.workers, l.Workers, l.Queue)
		gauge(c.busy, l.Busy, l.Queue)
		kinds := slices.Concat(c.kinds[l.Queue], slices.Collect(maps.Keys(l.Overdue)))
		slices.Sort(kinds)
		for _, kind := range slices.Compact(kinds) {
			gauge(c.overdue, l.Overdue[kind], l.Queue, kind)
		}
	}
}
