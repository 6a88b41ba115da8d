package workertest

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/lumin"
	"lumin-ingest/migrations"
	"lumin-ingest/store"
	"lumin-ingest/worker"
)

// session is a Runtime that runs one job type on one event.
type session struct {
	t        testing.TB
	db       *Database
	observer *observer
	batch    *batch // the observed job type, if it is a batch job type
	registry *worker.Registry
	store    *store.Store
	runtime  *worker.Runtime
	logger   *slog.Logger
	key      lumin.EventKey
	lastJob  int64 // highest job id before the event was recorded
}

// open starts a Runtime. The session holds the Database until it is closed.
func (db *Database) open(t testing.TB, jobType worker.JobType, event Event, opts []Option) *session {
	t.Helper()
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	checkArguments(t, o.registry(t, jobType), jobType, event)
	delivery := event.delivery(t)
	s := &session{t: t, db: db, observer: &observer{JobType: jobType, crashes: o.crashes}, key: delivery.Envelope.Key()}
	observed := s.observer.observed()
	s.batch, _ = observed.(*batch)
	s.registry = o.registry(t, observed)
	s.logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	if s.store, err = store.New(db.Pool, s.logger); err != nil {
		t.Fatal(err)
	}
	if s.runtime, err = worker.New(worker.Config{Store: s.store, Registry: s.registry, Logger: s.logger, MaxWorkers: 4}); err != nil {
		t.Fatal(err)
	}
	db.running.Lock()
	if err := s.runtime.Start(t.Context()); err != nil {
		db.running.Unlock()
		t.Fatal(err)
	}
	return s
}

// registry returns a registry with the job type and its follow-up jobs.
func (o options) registry(t testing.TB, jobType worker.JobType) *worker.Registry {
	t.Helper()
	registry := worker.NewRegistry()
	register(t, registry, jobType)
	for _, add := range o.followUps {
		add(registry)
	}
	return registry
}

// checkArguments ends the test if the program would not start with this
// registry, or would create no job for the event.
func checkArguments(t testing.TB, registry *worker.Registry, jobType worker.JobType, event Event) {
	t.Helper()
	if err := registry.Err(); err != nil {
		t.Fatalf("the program would not start: %v", err)
	}
	if !event.Recovered && !store.ValidSource(event.source()) {
		t.Fatalf("%q is not a source: give account or app:NAME", event.source())
	}
	eventType := event.delivery(t).Envelope.EventType
	if len(registry.Route(event.source(), eventType)) == 0 {
		if event.Recovered && !jobType.Recovered() {
			t.Fatalf("%s refuses recovered events: its Recovered method returns false", jobType.Kind())
		}
		sources := "all sources"
		if named := jobType.Sources(); len(named) > 0 {
			sources = strings.Join(named, ", ")
		}
		t.Fatalf("%s does not subscribe to %s from %s: it subscribes to %v from %s", jobType.Kind(), eventType, event.source(), jobType.Events(), sources)
	}
}

// close stops the Runtime, which makes River store the job states that it still
// holds in memory.
func (s *session) close() {
	s.t.Helper()
	defer s.db.running.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), s.timeLimit())
	defer cancel()
	if err := s.runtime.Stop(ctx); err != nil {
		s.t.Error(err)
	}
}

// timeLimit is the time limit of an attempt, including the queue's overhead.
func (s *session) timeLimit() time.Duration { return s.observer.Timeout() + 20*time.Second }

// deliverNew is deliver for an event that must not have been worked before.
func (s *session) deliverNew(event Event) {
	s.t.Helper()
	s.scan(`SELECT coalesce(max(id), 0) FROM lumin.river_job`, nil, &s.lastJob)
	var runs int
	const ours = `SELECT count(*) FROM lumin.runs WHERE event_key = $1 AND job_kind = $2`
	s.scan(ours, s.run(), &runs)
	if runs > 0 {
		s.t.Fatalf("%s has already processed this event, and would not process it again: change its SignatureRequestID or Time, or use Twice", s.observer.Kind())
	}
	s.deliver(event)
	if s.scan(ours, s.run(), &runs); runs == 0 {
		s.t.Fatalf("the event was recorded before %s existed, so it has no run: change its SignatureRequestID or Time", s.observer.Kind())
	}
}

// deliver records a delivery of the event and returns its status.
func (s *session) deliver(event Event) store.Status {
	s.t.Helper()
	delivery := event.delivery(s.t)
	delivery.Jobs = s.registry.Route(delivery.Source, delivery.Envelope.EventType)
	recorder := store.NewRecorder(s.store, s.logger, nil)
	defer recorder.Close()
	receipt, err := recorder.Record(s.t.Context(), delivery)
	if err != nil {
		s.t.Fatal(err)
	}
	return receipt.Status
}

// job is an unfinished job in the queue.
type job struct {
	ID      int64
	Ours    bool // the job of the run, not a follow-up
	Queue   string
	Waits   bool // its scheduled time is in the future, or River has not made it available
	Due     bool // due, but not running yet
	Snoozes int
}

const liveSQL = `
SELECT j.id, j.kind = $1, j.queue,
       j.state IN ('available', 'retryable', 'scheduled') AND (j.state <> 'available' OR j.scheduled_at > clock_timestamp()),
       j.state = 'available' AND j.scheduled_at <= clock_timestamp(),
       coalesce((j.metadata ->> 'snoozes')::integer, 0)
FROM lumin.river_job j
WHERE (j.kind = $1 OR j.id > $2 AND j.kind NOT LIKE 'lumin\_%') AND j.state NOT IN ('completed', 'discarded', 'cancelled')
ORDER BY j.id`

// drive runs jobs until done returns true for the state of the run and the
// unfinished jobs. It calls between, if not nil, before it makes waiting jobs
// due.
func (s *session) drive(done func(state string, jobs []job) bool, between func()) {
	s.t.Helper()
	look := time.NewTicker(3 * time.Millisecond)
	defer look.Stop()
	deadline := time.Now().Add(s.timeLimit())
	for {
		// Read the run first: once it has succeeded, its follow-up jobs exist.
		var state string
		s.scan(`SELECT state FROM lumin.runs WHERE event_key = $1 AND job_kind = $2`, s.run(), &state)
		jobs := collect[job](s, liveSQL, s.observer.Kind(), s.lastJob)
		if done(state, jobs) {
			return
		}
		if s.makeDue(jobs, between) {
			deadline = time.Now().Add(s.timeLimit())
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s was not done after %s: does its code respect the context?", s.observer.Kind(), s.timeLimit())
		}
		<-look.C
	}
}

// stuck reports whether a job has snoozed too often.
func (j job) stuck() bool { return j.Waits && j.Snoozes >= MaxSnoozes }

// worked reports whether the run is settled and the jobs that it inserted are
// done. Stuck jobs count as done. So does the run's own job once the run has
// succeeded, because River stores the job's completion a quarter of a second
// later.
func (*session) worked(state string, jobs []job) bool {
	return !slices.ContainsFunc(jobs, func(j job) bool {
		completing := j.Ours && !j.Waits && !j.Due && state == "succeeded"
		return !j.stuck() && !completing
	}) && (state != "pending" || slices.ContainsFunc(jobs, job.stuck))
}

// completed reports whether River has stored the end of every job that is not
// stuck.
func (*session) completed(_ string, jobs []job) bool {
	return !slices.ContainsFunc(jobs, func(j job) bool { return !j.stuck() })
}

// makeDue makes waiting jobs due and wakes River for due ones. It reports
// whether any jobs were waiting.
func (s *session) makeDue(jobs []job, between func()) bool {
	s.t.Helper()
	var waiting []int64
	for _, j := range jobs {
		switch {
		case j.Waits && !j.stuck():
			waiting = append(waiting, j.ID)
		case j.Due:
			s.exec(`SELECT pg_notify($1, json_build_object('queue', $2::text)::text)`, migrations.Schema+".river_insert", j.Queue)
		}
	}
	if len(waiting) == 0 {
		return false
	}
	if between != nil {
		between()
	}
	s.exec(`UPDATE lumin.river_job SET state = 'available', scheduled_at = clock_timestamp()
		WHERE id = ANY ($1) AND state IN ('available', 'retryable', 'scheduled')`, waiting)
	return true
}

// run returns the SQL arguments that identify the run.
func (s *session) run() []any { return []any{[16]byte(s.key), s.observer.Kind()} }

// rerunJob runs the run's job once more. This happens in production if the
// program crashes before River has stored the job's completion.
func (s *session) rerunJob() {
	s.t.Helper()
	s.drive(s.completed, nil)
	s.exec(`UPDATE lumin.river_job SET state = 'available', finalized_at = NULL, max_attempts = max_attempts + 1, scheduled_at = clock_timestamp()
		WHERE kind = $1 AND args ->> 'event_key' = $2 AND state = 'completed'`, s.observer.Kind(), s.key.String())
	s.drive(s.completed, nil)
}

func (s *session) result() Result {
	s.t.Helper()
	var r Result
	s.scan(`SELECT r.state, r.attempts,
			ARRAY (SELECT x.e ->> 'error' FROM lumin.river_job j, unnest(j.errors) WITH ORDINALITY AS x (e, n)
			       WHERE j.kind = r.job_kind AND j.args ->> 'event_key' = r.event_key::text ORDER BY x.n)
		FROM lumin.runs r WHERE r.event_key = $1 AND r.job_kind = $2`,
		s.run(), &r.State, &r.Attempts, &r.Errors)
	for _, c := range s.observer.recordedCalls() {
		if c.event.Key != s.key {
			continue
		}
		r.Calls++
		r.Event = c.event
		if c.snoozed != nil {
			r.Snoozes = append(r.Snoozes, *c.snoozed)
		}
	}
	r.FollowUps = s.followUps()
	return r
}

func (s *session) followUps() []FollowUp {
	s.t.Helper()
	return collect[FollowUp](s, `
		SELECT j.kind, j.args::text, j.state::text, j.attempt, coalesce((j.metadata ->> 'snoozes')::integer, 0),
		       ARRAY (SELECT x.e ->> 'error' FROM unnest(j.errors) WITH ORDINALITY AS x (e, n) ORDER BY x.n)
		FROM lumin.river_job j
		WHERE j.id > $1 AND j.kind <> $2 AND j.kind NOT LIKE 'lumin\_%' ORDER BY j.id`, s.lastJob, s.observer.Kind())
}

// collect reads rows into structs by position.
func collect[T any](s *session, sql string, args ...any) []T {
	s.t.Helper()
	rows, err := s.db.Pool.Query(s.t.Context(), sql, args...)
	if err == nil {
		var found []T
		if found, err = pgx.CollectRows(rows, pgx.RowToStructByPos[T]); err == nil {
			return found
		}
	}
	s.t.Fatal(fmt.Errorf("read the queue: %w", err))
	return nil
}

func (s *session) scan(sql string, args []any, into ...any) {
	s.t.Helper()
	if err := s.db.Pool.QueryRow(s.t.Context(), sql, args...).Scan(into...); err != nil {
		s.t.Fatal(fmt.Errorf("read the run: %w", err))
	}
}

func (s *session) exec(sql string, args ...any) {
	s.t.Helper()
	if _, err := s.db.Pool.Exec(s.t.Context(), sql, args...); err != nil {
		s.t.Fatal(fmt.Errorf("update the queue: %w", err))
	}
}
