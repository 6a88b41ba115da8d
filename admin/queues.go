package admin

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"lumin-ingest/store"
	"lumin-ingest/store/replay"
)

// queueCollector shows the depth of each queue.
type queueCollector struct {
	backgroundCount[store.QueueDepth]

	queued *prometheus.Desc
	oldest *prometheus.Desc
}

// NewQueueCollector returns a collector of lumin_queued_jobs and
// lumin_oldest_queued_job_age_seconds, each by queue.
//
// A scrape starts a count, with store.Store.QueueDepths, under the same limits as
// [NewRunCountCollector].
func NewQueueCollector(c *Counting, count func(context.Context) ([]store.QueueDepth, error)) prometheus.Collector {
	return &queueCollector{
		backgroundCount: backgroundCount[store.QueueDepth]{counts: c, count: count},
		queued: prometheus.NewDesc("lumin_queued_jobs",
			"Jobs that are due and wait for a worker, by queue; counted up to 100000. Every program on this database reports the same value.", []string{"queue"}, nil),
		oldest: prometheus.NewDesc("lumin_oldest_queued_job_age_seconds",
			"How long the first job that waits for a worker has been due, by queue; 0 if none waits. Every program on this database reports the same value.", []string{"queue"}, nil),
	}
}

// Describe implements [prometheus.Collector].
func (c *queueCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.queued
	out <- c.oldest
}

// Collect implements [prometheus.Collector].
func (c *queueCollector) Collect(out chan<- prometheus.Metric) {
	for _, d := range c.latest() {
		out <- prometheus.MustNewConstMetric(c.queued, prometheus.GaugeValue, float64(d.Queued), d.Queue)
		out <- prometheus.MustNewConstMetric(c.oldest, prometheus.GaugeValue, d.Age, d.Queue)
	}
}

// replayCollector shows the replays in progress.
type replayCollector struct {
	backgroundCount[replay.Open]

	open, planned, enqueued, oldest *prometheus.Desc
}

// NewReplayCollector returns a collector of lumin_open_replays, of
// lumin_open_replays_planned_runs and lumin_open_replays_enqueued_runs, and of
// lumin_oldest_open_replay_age_seconds.
//
// A scrape starts a count, with replay.CountOpen, under the same limits as
// [NewRunCountCollector].
func NewReplayCollector(c *Counting, count func(context.Context) (replay.Open, error)) prometheus.Collector {
	return &replayCollector{
		backgroundCount: backgroundCount[replay.Open]{counts: c, count: single(count)},
		open: prometheus.NewDesc("lumin_open_replays",
			"Replay orders that are not finished. Every program on this database reports the same value.", nil, nil),
		planned: prometheus.NewDesc("lumin_open_replays_planned_runs",
			"Runs that the open replay orders selected when they were started.", nil, nil),
		enqueued: prometheus.NewDesc("lumin_open_replays_enqueued_runs",
			"Runs that the open replay orders have put into the queue so far.", nil, nil),
		oldest: prometheus.NewDesc("lumin_oldest_open_replay_age_seconds",
			"How long ago the oldest open replay order was placed; 0 if none is open.", nil, nil),
	}
}

// Describe implements [prometheus.Collector].
func (c *replayCollector) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{c.open, c.planned, c.enqueued, c.oldest} {
		out <- desc
	}
}

// Collect implements [prometheus.Collector].
func (c *replayCollector) Collect(out chan<- prometheus.Metric) {
	for _, o := range c.latest() {
		for desc, value := range map[*prometheus.Desc]float64{
			c.open: float64(o.Orders), c.planned: float64(o.Planned), c.enqueued: float64(o.Enqueued), c.oldest: o.Age,
		} {
			out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value)
		}
	}
}
