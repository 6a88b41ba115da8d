package main

import (
	"context"
	"fmt"
	"time"

	"lumin-ingest/store"
	"lumin-ingest/store/audit"
	"lumin-ingest/store/conflict"
	"lumin-ingest/store/erasure"
	"lumin-ingest/store/failures"
	"lumin-ingest/store/replay"
)

// pageRows is the number of rows in the first page of a list.
const pageRows = 50

// Event types of past events, from common to rare. Only signature requests of
// rareSource have the last two, and only those of commonSource canceledType.
const (
	commonType   = "signature_request_viewed"
	declinedType = "signature_request_declined"
	canceledType = "signature_request_canceled"
	rareType     = "signature_request_cancel_failed"
	rarestType   = "signature_request_invalid"
	unknownType  = "signature_request_sent"
)

// lists reads the first page of every list, with every filter and with the pairs of
// filters that are hard to serve.
func (o operators) lists(ctx context.Context) error {
	tasks := o.eventLists(ctx)
	for _, more := range [][]task{o.conflictLists(ctx), o.otherLists(ctx), o.views(ctx)} {
		tasks = append(tasks, more...)
	}
	if err := o.slowest(firstPage, tasks); err != nil {
		return err
	}
	for _, t := range o.counts(ctx) {
		if err := o.repeat(t.name, t.do); err != nil {
			return err
		}
	}
	return o.slowest(failuresTask, o.failureLists(ctx))
}

// list is the first page of a list.
func list(name string, read func() error) task { return task{firstPage + " of " + name, read} }

// oneRequest is a signature request with past events.
const oneRequest = "c4ca4238a0b923820dcc509a6f75849b" // of the number 1

// eventLists lists the filters of "events list".
func (o operators) eventLists(ctx context.Context) (tasks []task) {
	early, middle := o.past(0.1), o.past(0.5)
	for _, l := range []struct {
		name   string
		filter store.EventFilter
	}{
		{"events", store.EventFilter{}},
		{"events, oldest first", store.EventFilter{OldestFirst: true}},
		{"events until the middle", store.EventFilter{ReceivedUntil: &middle}},
		{"events since the middle, oldest first", store.EventFilter{ReceivedSince: &middle, OldestFirst: true}},
		{"events of a common source", store.EventFilter{Source: commonSource}},
		{"events of a tenth source", store.EventFilter{Source: tenthSource}},
		{"events of a rare source", store.EventFilter{Source: rareSource}},
		{"events of the rarest source", store.EventFilter{Source: rarestSource}},
		{"events of a source without any", store.EventFilter{Source: unknownSource}},
		{"events of a rare source until the middle", store.EventFilter{Source: rareSource, ReceivedUntil: &middle}},
		{"events of the rarest source until early", store.EventFilter{Source: rarestSource, ReceivedUntil: &early}},
		{"events of a common source since the middle, oldest first", store.EventFilter{Source: commonSource, ReceivedSince: &middle, OldestFirst: true}},
		{"events of a common type", store.EventFilter{EventType: commonType}},
		{"events of a rare type", store.EventFilter{EventType: rareType}},
		{"events of the rarest type", store.EventFilter{EventType: rarestType}},
		{"events of a type without any", store.EventFilter{EventType: unknownType}},
		{"events of a common type until the middle", store.EventFilter{EventType: commonType, ReceivedUntil: &middle}},
		{"events of a rare type since the middle, oldest first", store.EventFilter{EventType: rareType, ReceivedSince: &middle, OldestFirst: true}},
		{"events of a common source and type", store.EventFilter{Source: commonSource, EventType: commonType}},
		{"events of a common source and the rarest type", store.EventFilter{Source: commonSource, EventType: rarestType}},
		{"events of the rarest source and a common type", store.EventFilter{Source: rarestSource, EventType: commonType}},
		{"events of a rare source and type", store.EventFilter{Source: rareSource, EventType: rareType}},
		{"events of a rare source and a type that it never has", store.EventFilter{Source: rareSource, EventType: canceledType}},
		{"events of a tenth source and a type that it never has", store.EventFilter{Source: tenthSource, EventType: declinedType}},
		{"events of a rare source and type until the middle", store.EventFilter{Source: rareSource, EventType: rareType, ReceivedUntil: &middle}},
		{"events of one signature request", store.EventFilter{SignatureRequestID: oneRequest}},
		{"events of one signature request and type", store.EventFilter{SignatureRequestID: oneRequest, EventType: commonType}},
		{"unrecognized events", store.EventFilter{Unrecognized: true}},
		{"unrecognized events of a tenth source", store.EventFilter{Unrecognized: true, Source: tenthSource}},
		{"unrecognized events until the middle", store.EventFilter{Unrecognized: true, ReceivedUntil: &middle}},
	} {
		l.filter.Limit = pageRows
		tasks = append(tasks, list(l.name, func() error { _, err := o.store.ListEvents(ctx, l.filter); return err }))
	}
	return tasks
}

// conflictLists lists the filters of "conflicts list".
func (o operators) conflictLists(ctx context.Context) (tasks []task) {
	recent := o.past(0.9)
	for _, l := range []struct {
		name   string
		filter conflict.Filter
	}{
		{"conflicts", conflict.Filter{}},
		{"undecided conflicts", conflict.Filter{Undecided: true}},
		{"conflicts of two signers", conflict.Filter{AnotherActor: true}},
		{"undecided conflicts of two signers", conflict.Filter{AnotherActor: true, Undecided: true}},
		{"conflicts of a common source", conflict.Filter{Source: commonSource}},
		{"conflicts of a rare source", conflict.Filter{Source: rareSource}},
		{"conflicts of a source without any", conflict.Filter{Source: unknownSource}},
		{"undecided conflicts of two signers of a rare source", conflict.Filter{Source: rareSource, AnotherActor: true, Undecided: true}},
		{"conflicts of one signature request", conflict.Filter{SignatureRequestID: oneRequest}},
		{"conflicts of late", conflict.Filter{Since: &recent}},
		{"conflicts of one event", conflict.Filter{EventID: 302}},
	} {
		l.filter.Limit = pageRows
		tasks = append(tasks, list(l.name, func() error { _, err := conflict.List(ctx, o.pool, l.filter); return err }))
	}
	return tasks
}

// failureLists lists the filters of "failures".
func (o operators) failureLists(ctx context.Context) (tasks []task) {
	late, all := o.past(0.9), []string(nil)
	for _, l := range []struct {
		name  string
		of    failures.List
		kinds []string
		since *time.Time
	}{
		{"failures", failures.Failed(), all, nil},
		{"failures of a job type", failures.Failed(), []string{"notify"}, nil},
		{"failures of late", failures.Failed(), all, &late},
		{"failures of a job type without any", failures.Failed(), []string{"late"}, nil},
		{"retrying runs", failures.Retrying(), all, nil},
		{"retrying runs of a job type", failures.Retrying(), []string{"notify"}, nil},
		{"dismissed runs", failures.Dismissed(), all, nil},
		{"dismissed runs of late", failures.Dismissed(), all, &late},
	} {
		tasks = append(tasks, list(l.name, func() error { _, err := l.of.Quickly(ctx, o.pool, l.kinds, l.since, pageRows); return err }))
	}
	return tasks
}

// otherLists lists what commands show besides.
func (o operators) otherLists(ctx context.Context) []task {
	return []task{
		list("replays", func() error { _, err := replay.New(o.store).List(ctx, 0, pageRows); return err }),
		list("keys", func() error { _, err := audit.KeysUsed(ctx, o.pool); return err }),
		list("sources", func() error { _, err := o.store.StoredSources(ctx); return err }),
		list("event types", func() error { _, err := o.store.StoredEventTypes(ctx); return err }),
		list("failed follow-up jobs", func() error { _, err := failures.FollowUps(ctx, o.pool, nil, pageRows); return err }),
		list("one event", func() error { _, err := o.store.ShowEvent(ctx, 1000); return err }),
	}
}

// views lists the questions of docs/sql.md that read a page or one row.
func (o operators) views(ctx context.Context) (tasks []task) {
	for _, view := range []struct{ name, sql string }{
		{"lumin.failed_runs", `SELECT * FROM lumin.failed_runs ORDER BY event_key DESC LIMIT 50`},
		{"lumin.failed_runs of a job type", `SELECT * FROM lumin.failed_runs WHERE job_kind = 'notify' ORDER BY event_key DESC LIMIT 50`},
		{"lumin.dismissed_runs", `SELECT * FROM lumin.dismissed_runs LIMIT 50`},
		{"lumin.failures", `SELECT * FROM lumin.failures ORDER BY id DESC LIMIT 20`},
		{"lumin.conflicts", `SELECT * FROM lumin.conflicts ORDER BY event_id DESC LIMIT 20`},
		{"lumin.event_status, one event", `SELECT * FROM lumin.event_status WHERE event_id = 1000`},
		{"lumin.event_status, one request", `SELECT * FROM lumin.event_status WHERE signature_request_id = '` + oneRequest + `'`},
		{"unrecognized events in SQL", `SELECT id FROM lumin.events WHERE signature_request_id IS NULL ORDER BY id DESC LIMIT 20`},
		{"pending runs in SQL", `SELECT * FROM lumin.runs WHERE state = 'pending' ORDER BY pending_since LIMIT 20`},
		{"the oldest body", `SELECT min(received_at) FROM lumin.events WHERE payload_removed_at IS NULL`},
	} {
		tasks = append(tasks, list(view.name, func() error { _, err := o.pool.Exec(ctx, view.sql); return err }))
	}
	return tasks
}

// counts lists what takes longer the more there is to count, and has no target.
func (o operators) counts(ctx context.Context) []task {
	sql := func(name, sql string) task {
		return task{name, func() error { _, err := o.pool.Exec(ctx, sql); return err }}
	}
	return []task{
		sql("lumin.queue_health, one job in 50 events", `SELECT * FROM lumin.queue_health`),
		sql("the next retrying runs, one job in 50 events", `SELECT * FROM lumin.river_job WHERE state = 'retryable' ORDER BY scheduled_at LIMIT 50`),
		sql("the latest rejected signature requests, one in 20", `SELECT * FROM lumin.signature_requests WHERE status = 'REJECTED' ORDER BY last_event_time DESC LIMIT 20`),
		{"plan of an erasure of one signature request, one event in 2000 unrecognized", func() error {
			_, err := erasure.NewPlan(ctx, o.pool, erasure.Subject{SignatureRequestIDs: []string{oneRequest}})
			return err
		}},
	}
}

// prepareLists makes runs of notify retrying, with their jobs. It does so after the
// other figures of P9, because a worker would take these jobs.
func (o operators) prepareLists(ctx context.Context) error {
	for _, sql := range []string{`
WITH r AS (
    UPDATE lumin.runs SET state = 'pending', finished_at = NULL, error = 'region is slow', job_id = nextval('lumin.river_job_id_seq'), pending_since = finished_at
    WHERE job_kind = 'notify' AND state = 'succeeded' AND event_id % 50 = 15 RETURNING event_key, job_id, pending_since
)
INSERT INTO lumin.river_job (id, args, kind, max_attempts, attempt, state, attempted_at, scheduled_at, errors)
SELECT job_id, jsonb_build_object('event_key', event_key::text, 'replay_id', 0), 'notify', 10, 3, 'retryable', pending_since, now() + interval '1 day',
       ARRAY['{"error": "region is slow"}'::jsonb]
FROM r`, `VACUUM ANALYZE`} {
		if _, err := o.pool.Exec(ctx, sql); err != nil {
			return fmt.Errorf("make runs retrying: %w", err)
		}
	}
	return nil
}
