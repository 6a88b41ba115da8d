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
	"lumin-ingest/store/failures"
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
	for _, task := range []func(context.Context) error{o.lists, o.plans, o.replays, o.retention} {
		if err := task(ctx); err != nil {
			return err
		}
	}
	return nil
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

// lists reads the first page of every list, with every filter.
func (o operators) lists(ctx context.Context) error {
	middle := time.Unix(fillStart+int64(o.events)*fillStep/2, 0)
	var tasks []task
	for _, list := range []struct {
		task   string
		filter store.EventFilter
	}{
		{"events", store.EventFilter{}},
		{"events of a rare source", store.EventFilter{Source: "app:crm"}},
		{"events of a source without any", store.EventFilter{Source: "app:none"}},
		{"events of a type", store.EventFilter{EventType: "signature_request_approved"}},
		{"events of a type without any", store.EventFilter{EventType: "signature_request_invalid"}},
		{"events of one signature request", store.EventFilter{SignatureRequestID: "c4ca4238a0b923820dcc509a6f75849b"}},
		{"events of the first half", store.EventFilter{ReceivedUntil: &middle}},
		{"events of the second half, oldest first", store.EventFilter{ReceivedSince: &middle, OldestFirst: true}},
		{"unrecognized events", store.EventFilter{Unrecognized: true}},
	} {
		list.filter.Limit = 50
		tasks = append(tasks, task{listTask(list.task), func() error { _, err := o.store.ListEvents(ctx, list.filter); return err }})
	}
	for _, view := range []struct{ task, sql string }{
		{"lumin.failed_runs", `SELECT * FROM lumin.failed_runs LIMIT 50`},
		{"lumin.conflicts", `SELECT * FROM lumin.conflicts LIMIT 50`},
		{"lumin.event_status, one event", `SELECT * FROM lumin.event_status WHERE event_id = 1000`},
		{"lumin.event_status, one request", `SELECT * FROM lumin.event_status WHERE signature_request_id = 'c4ca4238a0b923820dcc509a6f75849b'`},
	} {
		tasks = append(tasks, task{listTask(view.task), func() error { _, err := o.pool.Exec(ctx, view.sql); return err }})
	}
	tasks = append(tasks, task{listTask("replays"), func() error { _, err := replay.New(o.store).List(ctx, 50); return err }})
	if err := o.slowest(firstPage, tasks); err != nil {
		return err
	}
	return o.repeat(failuresTask, o.failures(ctx))
}

// listTask is the name of the row of a list.
func listTask(list string) string { return firstPage + " of " + list }

// Names of rows that have a target.
const (
	firstPage     = "first page"
	replayPlan    = "plan of a replay"
	failuresTask  = "failures, every run failed"
	replayTask    = "replay of failed runs"
	retentionTask = "retention, half of the events stay"
	quietTask     = "a delivery before retention"
	busyTask      = "a delivery during retention"
)

func (o operators) failures(ctx context.Context) func() error {
	return func() error { _, err := failures.Failed().Quickly(ctx, o.store.Pool(), nil, nil, 20); return err }
}

// planned lists the replays that are planned.
func planned() []struct {
	task   string
	filter replay.Filter
} {
	since := time.Unix(fillStart, 0)
	return []struct {
		task   string
		filter replay.Filter
	}{
		{"plan of all failed", replay.Filter{Status: replay.Failed}},
		{"plan of failed, by event type", replay.Filter{Status: replay.Failed, EventTypes: []string{"signature_request_approved"}}},
		{"plan of failed, by time", replay.Filter{Status: replay.Failed, ReceivedSince: &since}},
		{"plan of failed, by source", replay.Filter{Status: replay.Failed, Sources: []string{"account"}}},
		{"plan of failed, one event", replay.Filter{Status: replay.Failed, EventIDs: []int64{1000}}},
		{"plan of missing", replay.Filter{Status: replay.Missing, Kinds: []string{"late"}}},
		{"plan of missing, by type", replay.Filter{Status: replay.Missing, Kinds: []string{"late"}, EventTypes: []string{"signature_request_approved"}}},
	}
}

func (o operators) plans(ctx context.Context) error {
	if _, err := catalog.AddJobTypes(ctx, o.store.Pool(), []catalog.JobType{{Kind: "late", Queue: "default"}}); err != nil {
		return err
	}
	var tasks []task
	for _, p := range planned() {
		tasks = append(tasks, task{p.task, func() error { _, err := replay.New(o.store).Quick().Plan(ctx, p.filter); return err }})
	}
	return o.slowest(replayPlan, tasks)
}

// replays enqueues all failed and all missing runs.
func (o operators) replays(ctx context.Context) error {
	replays := replay.New(o.store)
	spec := store.JobSpec{Queue: "default", MaxAttempts: 10, Priority: 1}
	jobs := replay.Jobs{Specs: map[string]store.JobSpec{"book": spec, "late": spec}}
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
		for page := (replay.Page{}); !page.Exhausted; {
			if page, err = replays.TakePage(ctx, order, jobs, page.Next, 0); err != nil {
				return err
			}
			enqueued += page.Enqueued
		}
		o.row(r.task, report.MetricRate, "runs/s", float64(enqueued)/time.Since(start).Seconds())
	}
	return nil
}
