package worker_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/store/operate"
	"lumin-ingest/worker"
)

// settings is a job type with settable settings.
type settings struct {
	*plainJob
	events   []lumin.EventType
	sources  []string
	queue    string
	priority int
	attempts int
	timeout  time.Duration

	refusesRecovered bool
}

func (s settings) Events() []lumin.EventType { return s.events }
func (s settings) Sources() []string         { return s.sources }
func (s settings) Recovered() bool           { return !s.refusesRecovered }
func (s settings) Queue() string             { return s.queue }
func (s settings) Priority() int             { return s.priority }
func (s settings) MaxAttempts() int          { return s.attempts }
func (s settings) Timeout() time.Duration    { return s.timeout }

func sound(kind string) settings {
	return settings{plainJob: newPlainJob(kind, nil), events: []lumin.EventType{lumin.AnyEvent},
		queue: "default", priority: 1, attempts: 1, timeout: time.Second}
}

func TestRegistryRefuses(t *testing.T) {
	t.Parallel()
	with := func(change func(*settings)) settings {
		s := sound("changed")
		change(&s)
		return s
	}
	for _, test := range []struct {
		name string
		job  worker.Plain
		want string
	}{
		{"nil", nil, "is nil"},
		{"typed nil", (*plainJob)(nil), "*worker_test.plainJob is nil"},
		{"taken kind", newPlainJob("taken", nil), `job type "taken" (*worker_test.plainJob): Kind is taken by *worker_test.txJob`},
		{"empty kind", sound(""), "Kind must be"},
		{"one character", sound("a"), "Kind must be"},
		{"too long", sound(strings.Repeat("a", 128)), "Kind must be"},
		{"space", sound("a b"), "Kind must be"},
		{"line break", sound("ab\n"), "Kind must be"},
		{"digit in front", sound("1a"), "Kind must be"},
		{"not ASCII", sound("größe"), "Kind must be"},
		{"internal kind", sound("lumin_replay"), "reserved for the program"},
		{"internal prefix", sound("Lumin_x"), "reserved for the program"},
		{"no events", with(func(s *settings) { s.events = nil }), "Events is empty"},
		{"an empty event", with(func(s *settings) { s.events = []lumin.EventType{"x", ""} }), "empty event type"},
		{"a source of nothing", with(func(s *settings) { s.sources = []string{"account", "app:"} }), `"app:"`},
		{"a source in capitals", with(func(s *settings) { s.sources = []string{"app:CRM"} }), `"app:CRM"`},
		{"no attempts", with(func(s *settings) { s.attempts = 0 }), "MaxAttempts is 0"},
		{"too many attempts", with(func(s *settings) { s.attempts = 32768 }), "MaxAttempts is 32768"},
		{"priority 0", with(func(s *settings) { s.priority = 0 }), "Priority is 0"},
		{"priority 5", with(func(s *settings) { s.priority = 5 }), "Priority is 5"},
		{"no time", with(func(s *settings) { s.timeout = 0 }), "Timeout is 0s"},
		{"negative time", with(func(s *settings) { s.timeout = -1 }), "Timeout is -1ns"},
		{"internal queue", with(func(s *settings) { s.queue = worker.InternalQueue }), "reserved for the program"},
		{"periodic queue", with(func(s *settings) { s.queue = worker.PeriodicQueue }), "reserved for the program"},
		{"no queue", with(func(s *settings) { s.queue = "" }), `Queue is ""`},
		{"queue in capitals", with(func(s *settings) { s.queue = "Slow" }), `Queue is "Slow"`},
		{"long queue", with(func(s *settings) { s.queue = strings.Repeat("a", 65) }), "at most 64"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			registry := worker.NewRegistry()
			registry.AddTx(newTxJob("taken", nil))
			if err := registry.Err(); err != nil {
				t.Fatal(err)
			}
			registry.Add(test.job)
			if err := registry.Err(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
			if got := registry.Kinds(); !slices.Equal(got, []string{"taken"}) {
				t.Errorf("kinds %q", got)
			}
			if _, err := worker.New(worker.Config{Registry: registry}); err == nil {
				t.Error("a Runtime was made of it")
			}
		})
	}
	t.Run("an invalid policy", func(t *testing.T) {
		t.Parallel()
		registry := worker.NewRegistry()
		registry.AddOrdered(&orderedJob{kind: "ordered", policy: 3})
		registry.AddOrdered(nil)
		if err := registry.Err(); err == nil || !strings.Contains(err.Error(), "WhenFailed is LanePolicy(3)") || !strings.Contains(err.Error(), "is nil") {
			t.Error(err)
		}
	})
	t.Run("all at once", func(t *testing.T) {
		t.Parallel()
		registry := registryOf(sound("a"), sound("good"), sound("lumin_x"))
		if err := registry.Err(); err == nil || strings.Count(err.Error(), "\n") != 1 {
			t.Error(err)
		}
	})
	t.Run("the widest valid settings", func(t *testing.T) {
		t.Parallel()
		registry := registryOf(with(func(s *settings) {
			s.kind, s.queue = "a"+strings.Repeat("-_9Z", 31), strings.Repeat("a-1_", 15)+"abcd"
			s.attempts, s.priority = 32767, 4
			s.sources = []string{"account", "app:" + strings.Repeat("a", 63)}
		}))
		if err := registry.Err(); err != nil {
			t.Error(err)
		}
	})
}

func TestRoute(t *testing.T) {
	t.Parallel()
	all, signed, app, both := sound("all"), sound("signed"), sound("app"), sound("both")
	signed.events = []lumin.EventType{lumin.SignatureRequestSigned, "signature_request_new"}
	app.sources = []string{"app:crm", "app:erp"}
	both.events, both.sources = signed.events, []string{"account"}
	both.queue, both.priority, both.attempts = "slow", 3, 7
	refusing := sound("refusing")
	refusing.refusesRecovered = true
	registry := registryOf(both, signed, app, all, refusing) // unsorted
	for _, test := range []struct {
		source string
		event  lumin.EventType
		want   string
	}{
		{"account", lumin.SignatureRequestSigned, "all both refusing signed"},
		{"account", "signature_request_new", "all both refusing signed"},
		{"account", lumin.SignatureRequestViewed, "all refusing"},
		{"app:crm", lumin.SignatureRequestSigned, "all app refusing signed"},
		{"app:erp", "undocumented", "all app refusing"},
		{"app:other", "undocumented", "all refusing"},
		{"app:other", lumin.AnyEvent, "all refusing"},
		{"recovered", lumin.SignatureRequestApproved, "all app"},
		{"recovered", lumin.SignatureRequestSigned, "all app both signed"},
	} {
		var kinds []string
		for _, spec := range registry.Route(test.source, test.event) {
			kinds = append(kinds, spec.Kind)
		}
		if got := strings.Join(kinds, " "); got != test.want {
			t.Errorf("%s from %s: %q, want %q", test.event, test.source, got, test.want)
		}
	}
	want := store.JobSpec{Kind: "both", Queue: "slow", MaxAttempts: 7, Priority: 3}
	if got := registry.Route("account", lumin.SignatureRequestSigned)[1]; got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := registry.Queues(); !slices.Equal(got, []string{"default", "slow"}) {
		t.Errorf("queues %q", got)
	}
	if got := worker.NewRegistry().Route("account", "x"); len(got) != 0 {
		t.Errorf("an empty registry routes to %v", got)
	}
}

// Package operate names the internal queues too, so that a person cannot pause them.
func TestInternalQueues(t *testing.T) {
	t.Parallel()
	for _, queue := range []string{worker.InternalQueue, worker.PeriodicQueue} {
		if operate.InternalWork(queue) == "" {
			t.Errorf("queue %s can be paused", queue)
		}
	}
	if err := operate.CheckPause("default"); err != nil {
		t.Error(err)
	}
}

// The Registry keeps the settings that it has checked.
func TestSettingsAreReadOnce(t *testing.T) {
	t.Parallel()
	job := &settings{}
	*job = sound("job")
	registry := registryOf(job)
	job.queue, job.attempts, job.events[0] = worker.InternalQueue, 0, "other"
	if got, want := registry.Route("account", "x"), (store.JobSpec{Kind: "job", Queue: "default", MaxAttempts: 1, Priority: 1}); len(got) != 1 || got[0] != want {
		t.Errorf("%+v", got)
	}
}

func TestStartRegistersJobTypes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	job := sound("some")
	job.events, job.sources, job.queue = []lumin.EventType{"a", "b"}, []string{"account"}, "slow"
	first := r.start(job, newTxJob("all", nil))
	r.stop(first)
	const all = `SELECT kind, events::text, sources::text, transactional, queue FROM lumin.job_types ORDER BY kind`
	if got, want := fmt.Sprint(r.rows(all)), "[all {} {} true default some {a,b} {account} false slow]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if strings.Contains(r.logs.String(), "other programs have registered") {
		t.Error("warned of its own job types")
	}

	r.start(newTxJob("all", nil))
	if !strings.Contains(r.logs.String(), `does not know some job types that other programs have registered`) ||
		!strings.Contains(r.logs.String(), `"kinds":["some"]`) {
		t.Error("not warned of the job types of other programs")
	}
}

// A program without job types still runs the internal jobs.
func TestEmptyRegistry(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.wait("the sweep", func() bool {
		return r.count(`SELECT count(*) FROM lumin.river_job WHERE kind = 'lumin_sweep' AND state = 'completed'`) > 0
	})
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	metrics := prometheus.NewRegistry()
	job := newTxJob("job", failOnce)
	r.startConfig(worker.Config{Registerer: metrics}.Quick(time.Second), job)
	r.record(1, job)
	r.waitQuiet()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		if family.GetName() != "lumin_attempts_total" {
			continue
		}
		for _, m := range family.GetMetric() {
			got[family.GetName()+" "+m.GetLabel()[0].GetValue()+" "+m.GetLabel()[1].GetValue()] = m.GetCounter().GetValue()
		}
	}
	if got["lumin_attempts_total job retried"] != 1 || got["lumin_attempts_total job succeeded"] != 1 {
		t.Error(got)
	}
	if _, err := worker.New(worker.Config{Store: r.store, Registry: worker.NewRegistry(), Logger: r.logger, Registerer: metrics}); err == nil {
		t.Error("metrics registered twice")
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	var d worker.Defaults
	for range 1000 {
		var sum time.Duration
		for attempt := 1; attempt < d.MaxAttempts(); attempt++ {
			sum += d.Backoff(attempt)
		}
		if sum < 150*time.Minute || sum > 210*time.Minute {
			t.Fatalf("nine waits take %s", sum)
		}
	}
	for _, attempt := range []int{math.MinInt, -1, 0, 1, 10, 100, 1000, 32767, math.MaxInt32, math.MaxInt} {
		if wait := d.Backoff(attempt); wait < 3*time.Second || wait > 7*time.Hour {
			t.Errorf("attempt %d: %s", attempt, wait)
		}
	}
}
