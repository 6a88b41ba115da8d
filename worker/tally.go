package worker

import (
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lumin-ingest/store"
	"lumin-ingest/store/retention"
)

// Ended is an attempt that has ended, for [Config.Ended].
type Ended struct {
	Kind    string // of the job, including the internal ones
	Outcome string // as in the metric lumin_attempts_total

	// Worked is the duration of the attempt. It includes the wait for a connection
	// and for a batch.
	Worked time.Duration

	// Effect is the time from the receipt of the event to the end of the attempt
	// that took effect. It is negative for any other attempt, and for one that a
	// replay asked for.
	Effect time.Duration
}

// tally counts attempts.
type tally struct {
	outcomes *prometheus.CounterVec   // by kind and outcome
	work     *prometheus.HistogramVec // by kind
	effects  *prometheus.HistogramVec // by kind
	tasks    *prometheus.GaugeVec     // when each internal periodic job last succeeded
	removed  *prometheus.CounterVec   // rows that retention has removed
	ended    func(Ended)              // nil: no one is told
}

func newTally(ended func(Ended)) *tally {
	return &tally{
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lumin_attempts_total",
			Help: "Attempts of jobs by kind and outcome.",
		}, []string{"kind", "outcome"}),
		work: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "lumin_attempt_seconds",
			Help:    "Duration of attempts of jobs, by kind.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
		}, []string{"kind"}),
		effects: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "lumin_effect_seconds",
			Help: "Time from the receipt of an event to the commit of its effect, by job type. Replays do not count.",
			// With the default backoff, the last attempt is hours later.
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 21600},
		}, []string{"kind"}),
		tasks: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "lumin_housekeeping_last_success_timestamp_seconds",
			Help: "When this program last finished a task (sweep, erase, retain), or when it started. Of several programs, any may do a task: the latest time counts.",
		}, []string{"task"}),
		removed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lumin_retention_removed_total",
			Help: "Rows that retention has removed, and bodies (part payloads) that it has removed from events.",
		}, []string{"part"}),
		ended: ended,
	}
}

func (t *tally) collectors() []prometheus.Collector {
	return []prometheus.Collector{t.outcomes, t.work, t.effects, t.tasks, t.removed}
}

// expect creates the series of a job type with 0, so that rates include its first
// attempt.
func (t *tally) expect(kind string) {
	for _, o := range []outcome{outcomeSucceeded, outcomeRetried, outcomeFailed} {
		t.outcomes.WithLabelValues(kind, string(o))
	}
	t.work.WithLabelValues(kind)
	t.effects.WithLabelValues(kind)
}

// count counts an attempt that has ended. event is the event that it worked, or
// nil.
func (t *tally) count(kind string, o outcome, began time.Time, run store.JobArgs, event *Event) {
	now := time.Now()
	e := Ended{Kind: kind, Outcome: string(o), Worked: now.Sub(began), Effect: -1}
	t.outcomes.WithLabelValues(kind, e.Outcome).Inc()
	t.work.WithLabelValues(kind).Observe(e.Worked.Seconds())
	if o == outcomeSucceeded && event != nil && run.ReplayID == 0 {
		e.Effect = max(now.Sub(event.ReceivedAt), 0)
		t.effects.WithLabelValues(kind).Observe(e.Effect.Seconds())
	}
	if task, internal := strings.CutPrefix(kind, InternalPrefix); internal && o == outcomeSucceeded {
		t.finished(task)
	}
	if t.ended != nil {
		t.ended(e)
	}
}

// expectTasks creates the series of the internal periodic jobs. Without a first
// success, their age grows from now on.
func (t *tally) expectTasks(own []periodicHousekeeper) {
	for _, h := range own {
		t.tasks.WithLabelValues(strings.TrimPrefix(h.kind, InternalPrefix)).SetToCurrentTime()
	}
	t.countRemoved(retention.Removed{})
}

// finished notes the end of an internal periodic job. Other internal jobs have no
// series.
func (t *tally) finished(task string) {
	if slices.Contains([]string{taskSweep, taskErase, taskRetain}, task) {
		t.tasks.WithLabelValues(task).SetToCurrentTime()
	}
}

// countRemoved counts what retention has removed.
func (t *tally) countRemoved(r retention.Removed) {
	for part, n := range map[string]int64{"payloads": r.Payloads, "events": r.Events, "runs": r.Runs, "redeliveries": r.Redeliveries} {
		t.removed.WithLabelValues(part).Add(float64(n))
	}
}
