package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"lumin-ingest/internal/bench/report"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/store/retention"
)

// prepareRetention settles every second run, and measures failures again. The
// other half of the events keeps pending or failed runs.
func (o operators) prepareRetention(ctx context.Context) error {
	for _, sql := range []string{
		`UPDATE lumin.runs SET state = 'succeeded', finished_at = now() WHERE state IN ('pending', 'failed') AND event_id % 2 = 0`,
		`VACUUM ANALYZE`, // as autovacuum does some time later
		`CHECKPOINT`,
	} {
		if _, err := o.pool.Exec(ctx, sql); err != nil {
			return fmt.Errorf("prepare retention: %w", err)
		}
	}
	return o.slowest(failuresTask+", after a replay", o.failureLists(ctx))
}

// retention removes half of the events in slices, like a worker, while
// deliveries arrive at a steady rate.
func (o operators) retention(ctx context.Context) error {
	if err := o.prepareRetention(ctx); err != nil {
		return err
	}
	policy := retention.Policy{Payloads: pastEnd / 2, Events: pastEnd / 2}
	if err := o.repeat("plan of retention", func() error { _, err := retention.QuickPlan(ctx, o.pool, policy, time.Now()); return err }); err != nil {
		return err
	}
	recorder := store.NewRecorder(o.store, slog.New(slog.DiscardHandler), nil)
	defer recorder.Close()
	enough := make(chan struct{})
	close(enough)
	var quiet []float64
	for range 2 { // the first call is a warm-up: earlier writes are still being flushed
		var err error
		if quiet, err = deliver(ctx, recorder, enough); err != nil {
			return err
		}
	}
	done, failed := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(done)
		failed <- o.retain(ctx, policy)
	}()
	busy, err := deliver(ctx, recorder, done)
	if err := errors.Join(err, <-failed); err != nil {
		return err
	}
	for _, t := range []struct {
		task string
		took []float64
	}{{quietTask, quiet}, {busyTask, busy}} {
		o.row(t.task, report.MetricP50, "ms", percentile(t.took, 0.5))
		o.row(t.task, report.MetricP99, "ms", percentile(t.took, 0.99))
	}
	return nil
}

// retain removes what is past its age, for a limited time, and adds the rate.
func (o operators) retain(ctx context.Context, policy retention.Policy) error {
	rows, start := 0, time.Now()
	for pass := retention.NewPass(policy, time.Now()); !pass.Finished() && time.Since(start) < taskTime; {
		removed, err := pass.Continue(ctx, o.pool, 10*time.Second)
		if err != nil {
			return err
		}
		rows += int(removed.Rows())
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Second):
		}
	}
	o.row(retentionTask, report.MetricRate, "rows/s", float64(rows)/time.Since(start).Seconds())
	return nil
}

// deliver records a delivery with two jobs every ten milliseconds. It stops
// when until is closed, but not before 1,000 deliveries. It returns the sorted
// times per delivery, in milliseconds.
func deliver(ctx context.Context, r *store.Recorder, until <-chan struct{}) (took []float64, err error) {
	spec := store.JobSpec{Queue: "default", MaxAttempts: 10, Priority: 1}
	book, late := spec, spec
	book.Kind, late.Kind = "book", "late"
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for stop := false; !stop || len(took) < 1000; {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-until:
			stop, until = true, nil
		case <-tick.C:
			start := time.Now()
			id := fmt.Sprintf("%032x", start.UnixNano())
			body := fmt.Appendf(nil, `{"id":%q,"x":%q}`, id, strings.Repeat("x", 450))
			_, err := r.Record(ctx, store.Delivery{
				Source: "account", Payload: body, Signature: body[:32], KeyID: "0011223344556677", ReceivedAt: start, Jobs: []store.JobSpec{book, late},
				Envelope: &lumin.Envelope{SignatureRequestID: id, EventType: lumin.SignatureRequestSigned, EventTime: start.Truncate(time.Millisecond)},
			})
			if err != nil {
				return nil, err
			}
			took = append(took, float64(time.Since(start))/float64(time.Millisecond))
		}
	}
	slices.Sort(took)
	return took, nil
}
