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

// QueueLoad says how busy the workers of one queue are in this program.
type QueueLoad struct {
	Queue   string
	Workers int            // how many jobs run at a time
	Busy    int            // how many run
	Overdue map[string]int // of these by kind, those that still run 5 s after their timeout
}

// Stuck reports whether no worker is left for other jobs, because each is held by
// an overdue one.
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

// counts formats numbers of jobs by kind.
func counts(byKind map[string]int) string {
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(byKind)) {
		parts = append(parts, fmt.Sprintf("%s: %d", kind, byKind[kind]))
	}
	return strings.Join(parts, ", ")
}

// atWork keeps account of the jobs that run.
type atWork struct {
	mu   sync.Mutex
	jobs map[*runningJob]bool
}

// runningJob is one job that runs. A job without a deadline is never overdue: our
// own end on their own.
type runningJob struct {
	kind, queue string

	mu       *sync.Mutex // of atWork
	deadline time.Time
}

// runningKey is the key of the *runningJob in a job's context.
type runningKey struct{}

// begin notes a job until ended is called.
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

// noteDeadline notes when the job of this context should have ended. River sets
// the deadline only inside of the middleware that calls begin.
func noteDeadline(ctx context.Context) {
	job, ok := ctx.Value(runningKey{}).(*runningJob)
	if deadline, bounded := ctx.Deadline(); ok && bounded {
		job.mu.Lock()
		defer job.mu.Unlock()
		job.deadline = deadline
	}
}

// kinds counts the jobs that run by kind.
func (w *atWork) kinds() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	kinds := map[string]int{}
	for job := range w.jobs {
		kinds[job.kind]++
	}
	return kinds
}

// load says how busy queues with these numbers of workers are.
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

// Load says how busy the queues of this program are, its own two included.
func (r *Runtime) Load() []QueueLoad { return r.atWork.load(r.queues, time.Now()) }

// Stuck lists the queues in which no worker is left for other jobs.
func (r *Runtime) Stuck() []QueueLoad {
	return slices.DeleteFunc(r.Load(), func(l QueueLoad) bool { return !l.Stuck() })
}

// Unfinished counts the jobs that run by kind. After a [Runtime.Stop] that gave up
// waiting, these are the jobs that ignore the end of their context.
func (r *Runtime) Unfinished() map[string]int { return r.atWork.kinds() }

// loadCollector reports the load to Prometheus.
type loadCollector struct {
	load  func() []QueueLoad
	kinds map[string][]string // by queue; each has a figure from the start

	workers, busy, overdue *prometheus.Desc
}

func newLoadCollector(load func() []QueueLoad, kinds map[string][]string) *loadCollector {
	return &loadCollector{
		load: load, kinds: kinds,
		workers: prometheus.NewDesc("lumin_workers", "Jobs that this program runs at a time, by queue.", []string{"queue"}, nil),
		busy:    prometheus.NewDesc("lumin_workers_busy", "Jobs that this program runs now, by queue.", []string{"queue"}, nil),
		overdue: prometheus.NewDesc("lumin_jobs_overdue", "Jobs that still run 5 s after their timeout, by queue and kind.", []string{"queue", "kind"}, nil),
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
