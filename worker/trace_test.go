package worker_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/tracing"
	"lumin-ingest/worker"
)

// startTraced starts an ordered job type. It returns its spans, and its counts.
func (r *rig) startTraced(job *orderedJob) (*tracetest.InMemoryExporter, *ended) {
	r.t.Helper()
	spans, heard := tracetest.NewInMemoryExporter(), &ended{}
	cfg := worker.Config{MaxWorkers: 4, Ended: heard.add, Tracer: tracing.New(tracing.Config{Exporter: spans, Sync: true})}
	r.startRegistry(cfg.Quick(200*time.Millisecond), orderedRegistry(job))
	r.waitSwept()
	return spans, heard
}

// outcomes lists the outcomes of the attempts of a kind, with their numbers.
func (e *ended) outcomes(kind string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	counts := map[string]int{}
	for _, one := range e.all {
		if one.Kind == kind {
			counts[one.Outcome]++
		}
	}
	var all []string
	for _, outcome := range slices.Sorted(maps.Keys(counts)) {
		all = append(all, fmt.Sprintf("%d %s", counts[outcome], outcome))
	}
	return strings.Join(all, ", ")
}

// attemptsAt lists the spans of the attempts at an event of a lane: the outcome, in
// whose job it was, and the number of calls of the job type.
func attemptsAt(spans *tracetest.InMemoryExporter, request string, n int) (attempts []string) {
	id, all := tracing.TraceID(laneEvent(request, n).Key()), spans.GetSpans()
	for _, attempt := range all {
		if attempt.SpanContext.TraceID() != id || attempt.Name != "attempt ordered" {
			continue
		}
		outcome, job := "", "own"
		for _, a := range attempt.Attributes {
			switch {
			case a.Key == "lumin.outcome":
				outcome = a.Value.AsString()
			case a.Key == "lumin.job_id" && a.Value.AsInt64() == 0:
				job = "other"
			}
		}
		calls := 0
		for _, s := range all {
			if s.Name == "effect" && s.Parent.SpanID() == attempt.SpanContext.SpanID() {
				calls++
			}
		}
		attempts = append(attempts, fmt.Sprintf("%s %s %d", outcome, job, calls))
	}
	return attempts
}

// wantAttempts checks the spans of the events 1, 2, ... of a lane.
func (r *rig) wantAttempts(spans *tracetest.InMemoryExporter, want ...string) {
	r.t.Helper()
	for i, all := range want {
		if got := strings.Join(attemptsAt(spans, "a", i+1), ", "); got != all {
			r.t.Errorf("event %d has the spans %q, want %q", i+1, got, all)
		}
	}
}

// An event that the job of another works has one span and one count there. If it
// panics, the span ends, and the failure counts once: in the job of its own.
func TestTraceInJobOfAnother(t *testing.T) {
	t.Parallel()
	r := newLaneRig(t)
	release := make(chan struct{})
	job := held(release, func(_ context.Context, _ pgx.Tx, e *worker.Event, call int) error {
		if nameOf(e) == "a/3" && call < 3 {
			panic("no")
		}
		return nil
	})
	job.timeout = waitTimeout
	spans, heard := r.startTraced(job)
	r.recordLane(job, "a", 1)
	r.wait("event 1", func() bool { return job.callsOf("a/1") == 1 })
	r.recordLane(job, "a", 3, 2)
	r.waitStates(job, "a", "pending parked parked")
	r.wait("the jobs of the parked runs to end", func() bool { return heard.outcomes("ordered") == "2 parked" })
	close(release)
	r.waitLanes()
	const counts = "2 parked, 1 retried, 3 succeeded"
	r.wait("the counts", func() bool { return heard.outcomes("ordered") == counts })
	r.wait("the last span", func() bool { return len(attemptsAt(spans, "a", 3)) == 4 })
	r.wantAttempts(spans, "succeeded own 1", "parked own 0, succeeded other 1", "parked own 0, parked other 1, retried own 1, succeeded own 1")
}

// An event whose turn comes just after its job has parked it has the span and the
// count of that job only.
func TestTraceOfTurnAtOnce(t *testing.T) {
	t.Parallel()
	r := newLaneRig(t)
	job := &orderedJob{kind: "ordered"}
	spans, heard := r.startTraced(job)
	holder := pgtest.Conn(t, r.url)
	pgtest.Exec(t, holder, `SELECT pg_advisory_lock(hashtextextended('ordered:a', 0))`)
	r.exec(fmt.Sprintf(`
		CREATE FUNCTION shop.free() RETURNS trigger LANGUAGE plpgsql AS
		$$BEGIN PERFORM pg_terminate_backend(%d, 20000); RETURN NULL; END$$;
		CREATE TRIGGER free AFTER UPDATE ON lumin.runs FOR EACH ROW WHEN (NEW.state = 'parked') EXECUTE FUNCTION shop.free()`,
		holder.PgConn().PID()))
	r.recordLane(job, "a", 1)
	r.waitLanes()
	r.wait("the count", func() bool { return heard.outcomes("ordered") == "1 succeeded" })
	if effects, _ := heard.effects(t, "ordered"); effects != 1 {
		t.Errorf("%d effects", effects)
	}
	r.wait("the span", func() bool { return len(attemptsAt(spans, "a", 1)) > 0 })
	r.wantAttempts(spans, "succeeded own 1")
}

// The span of a batch and those of its attempts lead to each other. The batch fails
// with a panic, and its span ends. Then its events are tried alone.
func TestTraceOfBatch(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	job := &batchJob{kind: "batch"}
	job.work = func(_ context.Context, _ pgx.Tx, events []*worker.Event) error {
		if len(events) > 1 {
			panic("no")
		}
		return nil
	}
	spans, heard := tracetest.NewInMemoryExporter(), &ended{}
	keys := r.recordMany(1, 20, job)
	cfg := worker.Config{MaxWorkers: 8, Ended: heard.add, Tracer: tracing.New(tracing.Config{Exporter: spans, Sync: true})}
	r.startConfig(cfg.Quick(200*time.Millisecond), job)
	r.waitQuiet()
	r.wait("the counts", func() bool { return heard.outcomes("batch") == fmt.Sprintf("%d succeeded", len(keys)) })
	attempts := map[string]int{} // by span id: the links to batches
	batches, members := 0, 0
	r.wait("the spans", func() bool {
		attempts, batches, members = map[string]int{}, 0, 0
		for _, s := range spans.GetSpans() {
			switch s.Name {
			case "attempt batch":
				attempts[s.SpanContext.SpanID().String()] = len(s.Links)
			case "batch batch":
				batches, members = batches+1, members+len(s.Links)
			}
		}
		return len(attempts) == len(keys)
	})
	links := 0
	for _, n := range attempts {
		links += n
	}
	if batches == 0 || members < 2*batches || links != members {
		t.Errorf("%d batches with %d links, and %d links back", batches, members, links)
	}
}
