//go:build unix

package faults

import (
	"strings"
	"testing"
	"time"

	"lumin-ingest/internal/pgproxy"
	"lumin-ingest/lumin"
)

func newTestScene(t *testing.T) *scene {
	t.Helper()
	r := &runner{started: time.Now(), ledger: newTestLedger(t), cfg: Config{Log: t.Logf}}
	return &scene{runner: r, scale: 1, out: &Outcome{}}
}

func TestTraffic(t *testing.T) {
	t.Parallel()
	l := newTestLedger(t)
	start := time.Now()
	d := &Delivery{Key: lumin.EventKey{1}, Source: accountSource}
	for n := range 100 {
		l.answerLater(d, start.Add(time.Duration(n)*time.Second), time.Duration(n+1)*time.Millisecond, answer{status: 200, id: 7})
	}
	l.answerLater(d, start.Add(30*time.Second), 9*time.Second, answer{status: 503})
	l.answerLater(d, start.Add(31*time.Second), 28*time.Second, answer{})
	l.answerLater(&Delivery{Key: lumin.EventKey{2}, Source: accountSource, Forged: true}, start, time.Minute, answer{status: 401})
	got := l.traffic(start, start.Add(time.Hour), nil)
	if want := (traffic{100, 1, 1, 99 * time.Millisecond, 9 * time.Second, 9 * time.Second}); got != want || got.failed() != 2 {
		t.Errorf("traffic %+v, want %+v", got, want)
	}
	got = l.traffic(start.Add(90*time.Second), start.Add(time.Hour), nil)
	if want := (traffic{10, 0, 0, 100 * time.Millisecond, 100 * time.Millisecond, 100 * time.Millisecond}); got != want {
		t.Errorf("traffic of the last seconds %+v, want %+v", got, want)
	}
	if got := l.traffic(start, start.Add(time.Hour), func(id identity) bool { return id.key == d.Key }); got != (traffic{}) {
		t.Errorf("traffic without the only delivery: %+v", got)
	}
	if n := l.firstAcks(start, start.Add(time.Hour)); n != 1 {
		t.Errorf("%d first 200s", n)
	}
	if keys, sources := l.acknowledgedSince(0); len(keys) != 1 || keys[0] != d.Key || sources[0] != accountSource {
		t.Errorf("acknowledged: %v of %v", keys, sources)
	}
	if keys, _ := l.acknowledgedSince(1); len(keys) != 0 {
		t.Errorf("acknowledged after the first one: %v", keys)
	}
}

// A fault without a recovery in time is a problem of the outcome.
func TestOutcomeOfSlowRecovery(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ack, effect time.Duration
		want        string // empty if the outcome is good
	}{
		"good":           {time.Second, 2 * time.Second, ""},
		"not measured":   {time.Second, unmeasured, ""},
		"slow 200":       {4 * time.Second, 2 * time.Second, "the first 200 took 4.0 s"},
		"no 200":         {never, 2 * time.Second, "the first 200 took never"},
		"slow effect":    {time.Second, 70 * time.Second, "the last effect took 70.0 s"},
		"a missing work": {time.Second, never, "the last effect took never"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newTestScene(t)
			s.scenario.first200 = 3 * time.Second
			ended := time.Now()
			s.rows = []*Row{{Fault: "f", ended: ended, LastEffect: c.effect, Ready: unmeasured}}
			d := &Delivery{Key: lumin.EventKey{1}, Source: accountSource}
			if c.ack != never {
				s.ledger.answerLater(d, ended.Add(time.Millisecond), c.ack, answer{status: 200, id: 1})
			} else { // before the end of the fault
				s.ledger.answerLater(d, ended.Add(-time.Second), time.Millisecond, answer{status: 200, id: 1})
			}
			s.finish(&Result{Counts: s.ledger.Counts()})
			got := strings.Join(s.out.Problems, "\n")
			if (c.want == "") != s.out.Passed() || !strings.Contains(got, c.want) {
				t.Errorf("problems %q, want %q", got, c.want)
			}
		})
	}
}

// The last effect counts from the end of the last fault of a burst.
func TestLastEffectOfBurst(t *testing.T) {
	t.Parallel()
	ended := time.Now()
	for _, c := range []struct{ took, next, want time.Duration }{
		{70 * time.Second, 0, 70 * time.Second}, {70 * time.Second, 20 * time.Second, 50 * time.Second}, {time.Second, 20 * time.Second, 0},
		{never, 20 * time.Second, never}, {unmeasured, 20 * time.Second, unmeasured},
	} {
		row := Row{LastEffect: c.took, ended: ended}
		if c.next > 0 {
			row.burstEnd = ended.Add(c.next)
		}
		if got := row.lastEffect(); got != c.want {
			t.Errorf("%s with a fault that ends %s later: %s, want %s", c.took, c.next, got, c.want)
		}
	}
}

// Violations and broken bounds of figures are problems.
func TestOutcomeOfViolation(t *testing.T) {
	t.Parallel()
	s := newTestScene(t)
	s.atMost("slowness", 2, 1, "s")
	s.atLeast("evidence", 0, 1)
	s.finish(&Result{Violations: []Violation{{Checker: AckedOnce, Count: 3}}})
	got := strings.Join(s.out.Problems, "\n")
	for _, want := range []string{"slowness is 2 s", "evidence is 0", AckedOnce, "too few events"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q does not contain %q", got, want)
		}
	}
	if s.out.Violations != 3 {
		t.Errorf("%d violations", s.out.Violations)
	}
}

// In a scenario that may lose deliveries, losses are counted and no problem.
func TestOutcomeOfExpectedLoss(t *testing.T) {
	t.Parallel()
	s := newTestScene(t)
	s.cfg.loses, s.lost = true, 5
	ended := time.Now()
	s.rows = []*Row{{Fault: "f", ended: ended, LastEffect: unmeasured, Ready: unmeasured}}
	s.ledger.answerLater(&Delivery{Key: lumin.EventKey{1}, Source: accountSource}, ended.Add(time.Millisecond), time.Second, answer{status: 200, id: 1})
	s.finish(&Result{Counts: s.ledger.Counts()})
	if !s.out.Passed() || !s.out.Loses || s.out.Lost != 5 || len(s.out.Measures) > 0 {
		t.Errorf("outcome %+v", s.out)
	}
}

// A run that failed without a reason of its job type is a problem only if the job
// types do not fail by chance. Otherwise a fault may have used up its attempts.
func TestOutcomeOfFailedRuns(t *testing.T) {
	t.Parallel()
	for _, steady := range []bool{false, true} {
		s := newTestScene(t)
		if steady {
			s.scenario.setup.env = []string{"WORKERS=8", SteadyVariable + "=1"}
		}
		if s.failures(&Result{FailedByDesign: 7}); len(s.problems) > 0 {
			t.Errorf("steady %t: %q", steady, s.problems)
		}
		if s.failures(&Result{FailedOtherwise: 1}); len(s.problems) > 0 != steady {
			t.Errorf("steady %t: %q", steady, s.problems)
		}
	}
}

// Too few answers are a problem: they would make every bound hold.
func TestEnough(t *testing.T) {
	t.Parallel()
	s := newTestScene(t)
	s.clients = newClients(s.ledger, 1, 40, nil)
	if s.enough("many", 200, 10*time.Second); len(s.problems) > 0 {
		t.Errorf("200 answers in 10 s: %q", s.problems)
	}
	if s.enough("few", 199, 10*time.Second); len(s.problems) == 0 {
		t.Error("199 answers in 10 s are enough")
	}
	if s.enough("none", 0, 0); len(s.problems) != 2 {
		t.Error("no answer is enough")
	}
}

// A gauge that grows is a problem, one that varies is not.
func TestFlat(t *testing.T) {
	t.Parallel()
	always := func(int) bool { return true }
	middle := func(m int) bool { return m >= 20 && m < 50 } // then the program has another role
	for name, c := range map[string]struct {
		value func(minute int) float64
		there func(minute int) bool
		grows bool
	}{
		"constant":       {func(int) float64 { return 50 }, always, false},
		"noisy":          {func(m int) float64 { return 50 + float64(m%3)*20 }, always, false},
		"growing":        {func(m int) float64 { return 50 + float64(m) }, always, true},
		"small":          {func(m int) float64 { return 1 + float64(m)/8 }, always, false}, // by less than 10
		"growing a time": {func(m int) float64 { return 50 + 2*float64(m) }, middle, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newTestScene(t)
			s.programs = []*program{{name: "A"}}
			signs := newVitalSigns(s.programs)
			for m := range 61 {
				if !c.there(m) {
					continue
				}
				signs.samples = append(signs.samples, vitalSample{s.started.Add(time.Duration(m) * time.Minute), 0, "all", map[string]float64{
					goroutines: c.value(m), descriptors: 20, memory: 64 << 20,
				}})
			}
			s.flat(signs, s.started, s.started.Add(time.Hour))
			if got := len(s.problems) > 0; got != c.grows {
				t.Errorf("problems: %q", s.problems)
			}
			if len(s.out.Measures) != 6 { // three gauges of one role
				t.Errorf("%d measures", len(s.out.Measures))
			}
		})
	}
	s := newTestScene(t)
	if s.flat(newVitalSigns(nil), s.started, s.started.Add(time.Hour)); len(s.problems) == 0 {
		t.Error("no samples are no problem")
	}
	if early, late := enough([6][]float64{make([]float64, 9), 2: make([]float64, 9), 3: make([]float64, 1)}); late-early >= 2 {
		t.Errorf("sixths %d and %d are compared", early, late)
	}
}

// Each point is one statement, and no statement is two points.
func TestPointsDiffer(t *testing.T) {
	t.Parallel()
	moments := map[string]pgproxy.Moment{
		"record":        {SQL: "WITH stored AS (\n INSERT INTO lumin.events (event_key) SELECT 1)"},
		"record commit": {SQL: "COMMIT", Earlier: []string{"SELECT set_config('a', 'b', true)", "WITH stored AS (INSERT INTO lumin.events (event_key) SELECT 1)"}},
		"claim":         {SQL: "\nWITH claimed AS (SELECT 1)"},
		"effect":        {SQL: "INSERT INTO faults.effects (event_key) VALUES ($1)"},
		"effect commit": {SQL: "COMMIT; SELECT 1", Earlier: []string{"WITH claimed AS (SELECT 1)", "INSERT INTO faults.effects VALUES (1)"}},
		"settle":        {SQL: "\nUPDATE lumin.runs r\nSET state = 'succeeded', replay_id = $3"},
		"complete":      {SQL: "-- name: JobSetStateIfRunningMany :many\nUPDATE river_job SET state = $1"},
		"other commit":  {SQL: "COMMIT", Earlier: []string{"SELECT 1"}},
	}
	hits := map[string]int{}
	for _, p := range points() {
		if p.at == nil {
			continue
		}
		found := ""
		for name, m := range moments {
			if p.at(m) {
				if found != "" {
					t.Errorf("%s: both %s and %s", p.name, found, name)
				}
				found = name
			}
		}
		hits[found]++
	}
	for name := range moments {
		want := 2 // before and after
		if name == "other commit" {
			want = 0
		}
		if hits[name] != want {
			t.Errorf("%s is %d points, want %d", name, hits[name], want)
		}
	}
}
