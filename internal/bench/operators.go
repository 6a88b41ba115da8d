package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"lumin-ingest/internal/bench/report"
	"lumin-ingest/store"
	"lumin-ingest/store/catalog"
	"lumin-ingest/store/replay"
)

// operators does operators' tasks on a filled database.
type operators struct {
	*stage
	store *store.Store
	tasks *report.Scenario
}

// operate measures the tasks, in an order in which none spoils the next.
func (s *stage) operate(ctx context.Context, tasks *report.Scenario) error {
	st, err := store.New(s.pool, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	o := operators{s, st, tasks}
	for _, task := range []func(context.Context) error{o.sizes, o.prepareLists, o.lists, o.plans, o.replays, o.retention} {
		if err := task(ctx); err != nil {
			return err
		}
	}
	return nil
}

// sizes adds the sizes of the tables and indexes that grow with each event.
func (o operators) sizes(ctx context.Context) error {
	rows, err := o.pool.Query(ctx, `
		SELECT c.relname, pg_relation_size(c.oid)::float8 / $1
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = 'lumin' AND c.relkind IN ('r', 'i') AND c.relname ~ '^(events|runs|failures|redeliveries|signature_requests|dismissals)'
		UNION ALL
		SELECT 'all of them', sum(pg_total_relation_size(c.oid))::float8 / $1
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'lumin' AND c.relkind = 'r'
		ORDER BY 2 DESC`, float64(o.events))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var size float64
		if err := rows.Scan(&name, &size); err != nil {
			return err
		}
		if size >= 1 {
			o.row("size of "+name, report.MetricSize, "bytes", size)
		}
	}
	return rows.Err()
}

// row adds the figure of a task.
func (o operators) row(task, metric, unit string, value float64) {
	o.logf("%s: %s %.2f %s", task, metric, value, unit)
	o.tasks.Add(task, metric, unit, value)
}

// repeat calls do up to a hundred times within some seconds, but at least five
// times, and adds the median and the 99th percentile of its times.
func (o operators) repeat(task string, do func() error) error {
	_, err := o.repeated(task, do)
	return err
}

// slowest is repeat for several tasks, which also adds the percentile of the
// slowest one.
func (o operators) slowest(of string, tasks []task) error {
	worst := 0.0
	for _, t := range tasks {
		p99, err := o.repeated(t.name, t.do)
		if err != nil {
			return err
		}
		worst = max(worst, p99)
	}
	o.row("slowest "+of, report.MetricP99, "ms", worst)
	return nil
}

// task is something that an operator does.
type task struct {
	name string
	do   func() error
}

func (o operators) repeated(task string, do func() error) (p99 float64, err error) {
	const calls, least, limit = 100, 5, 3 * time.Second
	var took []float64
	for start := time.Now(); len(took) < calls && (len(took) < least || time.Since(start) < limit); {
		began := time.Now()
		if err := do(); err != nil {
			return 0, fmt.Errorf("%s: %w", task, err)
		}
		took = append(took, float64(time.Since(began))/float64(time.Millisecond))
	}
	slices.Sort(took)
	p99 = percentile(took, 0.99)
	o.row(task, report.MetricP50, "ms", percentile(took, 0.5))
	o.row(task, report.MetricP99, "ms", p99)
	return p99, nil
}

// taskTime bounds a task whose rate is measured.
const taskTime = time.Minute

// Names of rows that have a target.
const (
	firstPage     = "first page"
	replayPlan    = "plan of a replay"
	failuresTask  = "failures"
	replayTask    = "replay of failed runs"
	retentionTask = "retention, half of the events stay"
	quietTask     = "a delivery before retention"
	busyTask      = "a delivery during retention"
)

// past is the time at which this share of the past events had been received.
func (o operators) past(share float64) time.Time {
	return pastStart().Add(time.Duration(share * float64(pastMonth)))
}

// planned lists the replays that are planned.
func (o operators) planned() []struct {
	task   string
	filter replay.Filter
} {
	since, middle := o.past(0), o.past(0.5)
	return []struct {
		task   string
		filter replay.Filter
	}{
		{"plan of all failed", replay.Filter{Status: replay.Failed}},
		{"plan of failed, by event type", replay.Filter{Status: replay.Failed, EventTypes: []string{commonType}}},
		{"plan of failed, by a rare event type", replay.Filter{Status: replay.Failed, EventTypes: []string{rareType}}},
		{"plan of failed, by time", replay.Filter{Status: replay.Failed, ReceivedSince: &since}},
		{"plan of failed, by half of the time", replay.Filter{Status: replay.Failed, ReceivedSince: &middle}},
		{"plan of failed, by source", replay.Filter{Status: replay.Failed, Sources: []string{commonSource}}},
		{"plan of failed, by a rare source", replay.Filter{Status: replay.Failed, Sources: []string{rareSource}}},
		{"plan of failed, by job type", replay.Filter{Status: replay.Failed, Kinds: []string{"notify"}}},
		{"plan of failed, one event", replay.Filter{Status: replay.Failed, EventIDs: []int64{1000}}},
		{"plan of failed, one signature request", replay.Filter{Status: replay.Failed, SignatureRequestIDs: []string{oneRequest}}},
		{"plan of retrying", replay.Filter{Status: replay.Retrying}},
		{"plan of cancelled", replay.Filter{Status: replay.Cancelled}},
		{"plan of succeeded", replay.Filter{Status: replay.Succeeded, Kinds: []string{"notify"}}},
		{"plan of unrecognized", replay.Filter{Status: replay.Unrecognized}},
		{"plan of missing", replay.Filter{Status: replay.Missing, Kinds: []string{"late"}}},
		{"plan of missing, by type", replay.Filter{Status: replay.Missing, Kinds: []string{"late"}, EventTypes: []string{commonType}}},
		{"plan of missing, by a rare type", replay.Filter{Status: replay.Missing, Kinds: []string{"late"}, EventTypes: []string{rareType}}},
	}
}

func (o operators) plans(ctx context.Context) error {
	if _, err := catalog.AddJobTypes(ctx, o.store.Pool(), []catalog.JobType{{Kind: "late", Queue: "default"}}); err != nil {
		return err
	}
	var tasks []task
	for _, p := range o.planned() {
		tasks = append(tasks, task{p.task, func() error { _, err := replay.New(o.store).Quick().Plan(ctx, p.filter); return err }})
	}
	return o.slowest(replayPlan, tasks)
}

// replays enqueues failed and missing runs, for a limited time each.
func (o operators) replays(ctx context.Context) error {
	replays := replay.New(o.store)
	spec := store.JobSpec{Queue: "default", MaxAttempts: 10, Priority: 1}
	jobs := replay.Jobs{Specs: map[string]store.JobSpec{"book": spec, "late": spec, "notify": spec}}
	for _, r := range []struct {
		task   string
		filter replay.Filter
	}{
		{replayTask, replay.Filter{Status: replay.Failed}},
		{"replay of missing runs", replay.Filter{Status: replay.Missing, Kinds: []string{"late"}}},
	} {
		id, err := replays.Place(ctx, replay.NewOrder{Filter: r.filter, Reason: "bench"})
		if err != nil {
			return err
		}
		order, err := replays.Start(ctx, id)
		if err != nil {
			return err
		}
		enqueued, start := 0, time.Now()
		for page := (replay.Page{}); !page.Exhausted && time.Since(start) < taskTime; {
			if page, err = replays.TakePage(ctx, order, jobs, page.Next, 0); err != nil {
				return err
			}
			enqueued += page.Enqueued
		}
		o.row(r.task, report.MetricRate, "runs/s", float64(enqueued)/time.Since(start).Seconds())
	}
	return nil
}
