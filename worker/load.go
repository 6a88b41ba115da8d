package worker

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// QueueLoad shows how busy the workers of one queue are in this program.
type QueueLoad struct {
	Queue   string
	Workers int            // jobs that can run at once
	Busy    int            // jobs that are running
	Overdue map[string]int // jobs still running 5 s after their timeout, by kind
}

// Stuck reports whether overdue jobs hold all workers of the queue, so that no
// other job can run.
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

// load returns the load of queues, given their numbers of workers.
func (r *runningJobs) load(workers map[string]int, now time.Time) []QueueLoad {
	r.mu.Lock()
	defer r.mu.Unlock()
	var loads []QueueLoad
	for _, queue := range slices.Sorted(maps.Keys(workers)) {
		l := QueueLoad{Queue: queue, Workers: workers[queue], Overdue: map[string]int{}}
		for job := range r.jobs {
			if job.queue != queue {
				continue
			}
			l.Busy++
			if !job.deadline.IsZero() && now.Sub(job.deadline) >= timeoutGrace {
				l.Overdue[job.kind]++
			}
		}
		loads = append(loads, l)
	}
	return loads
}

// Load returns the load of each queue of this program, including the two queues
// of its internal jobs: replays, erasures, retention and the sweep.
func (r *Runtime) Load() []QueueLoad { return r.running.load(r.queues, time.Now()) }

// Stuck lists the stuck queues: see [QueueLoad.Stuck].
func (r *Runtime) Stuck() []QueueLoad {
	return slices.DeleteFunc(r.Load(), func(l QueueLoad) bool { return !l.Stuck() })
}

// Unfinished counts the running jobs by kind. After a [Runtime.Stop] that timed
// out, these are the jobs that ignore the end of their context.
func (r *Runtime) Unfinished() map[string]int { return r.running.kinds() }

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
