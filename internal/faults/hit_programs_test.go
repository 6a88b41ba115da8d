//go:build unix

package faults

import (
	"strings"
	"testing"
	"time"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/lumin"
)

// running returns a program that receives at a URL.
func running(url string) *program {
	return &program{name: url, role: "all", process: &process{addr: &addresses{by: map[string]string{receiving: url}}}}
}

// Only its own answers show that a program works again.
func TestHitsAcked(t *testing.T) {
	t.Parallel()
	s := newTestScene(t)
	row := &Row{ended: s.started, hits: []*program{running("a"), running("b")}}
	answered := func(url string, sent time.Duration) {
		s.ledger.answerLater(&Delivery{Key: lumin.EventKey{1}, Source: accountSource}, s.started.Add(sent), time.Second, answer{status: 200, id: 1, url: url})
	}
	for _, before := range []struct {
		url  string
		sent time.Duration
	}{{"b", -time.Second}, {"a", -time.Millisecond}, {"other", time.Second}, {"a", 2 * time.Second}} {
		answered(before.url, before.sent)
		if at, found := s.hitsAcked(row); found {
			t.Errorf("at %s, after an answer of %s", at, before.url)
		}
	}
	answered("b", 5*time.Second)
	answered("b", 7*time.Second)
	if at, found := s.hitsAcked(row); !found || !at.Equal(s.started.Add(6*time.Second)) {
		t.Errorf("at %s (%t)", at, found)
	}
	row.hits = []*program{running("a"), running("")}
	if _, found := s.hitsAcked(row); found {
		t.Error("a program without an address has answered")
	}
}

// A program that was hit and is slow to work again is a problem, even if another
// one works. So is one that is not ready.
func TestOutcomeOfSlowHit(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ack, effect, ready time.Duration
		want               string // empty if the outcome is good
	}{
		"good":         {time.Second, 9 * time.Second, 9 * time.Second, ""},
		"slow 200":     {4 * time.Second, 9 * time.Second, time.Second, "f: f: first 200 of the programs that were hit took 4.0 s"},
		"slow effect":  {time.Second, 11 * time.Second, time.Second, "f: f: first effect of the programs that were hit took 11.0 s"},
		"not ready":    {time.Second, 9 * time.Second, 11 * time.Second, "every program ready took 11.0 s"},
		"not measured": {unmeasured, unmeasured, unmeasured, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newTestScene(t)
			s.scenario.first200, s.scenario.working = 3*time.Second, 10*time.Second
			ended := time.Now()
			s.ledger.answerLater(&Delivery{Key: lumin.EventKey{1}, Source: accountSource}, ended.Add(time.Millisecond), time.Second, answer{status: 200, id: 1})
			s.rows = []*Row{
				{Fault: "f", ended: ended, LastEffect: unmeasured, Ready: c.ready, hits: []*program{running("a")}, hitAck: c.ack, hitEffect: c.effect},
				{Fault: "other", ended: ended, LastEffect: unmeasured, Ready: unmeasured, hitAck: unmeasured, hitEffect: unmeasured},
			}
			s.finish(&Result{Counts: s.ledger.Counts()})
			got := strings.Join(s.out.Problems, "\n")
			if (c.want == "") != s.out.Passed() || !strings.Contains(got, c.want) {
				t.Errorf("problems %q, want %q", got, c.want)
			}
		})
	}
}

// Only its own effects, in transactions that began after the fault, show that a
// program works again.
func TestFirstEffects(t *testing.T) {
	t.Parallel()
	conn := pgtest.Conn(t, pgtest.New(t))
	if err := Prepare(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	ended := time.Now().Round(time.Second)
	for _, step := range []struct {
		program   string
		began, at time.Duration
		found     bool
	}{
		{"A", -2 * time.Second, time.Second, false}, {"B", -time.Second, time.Second, false}, {"C", time.Second, time.Second, false}, {"A", time.Second, 3 * time.Second, false},
		{"B", 2 * time.Second, 5 * time.Second, true}, {"B", 6 * time.Second, 7 * time.Second, true},
	} {
		pgtest.Exec(t, conn, `INSERT INTO faults.effects (event_key, job_kind, rerun, tx_began, at, program) VALUES (gen_random_uuid(), 'k', 0, $1, $2, $3)`,
			ended.Add(step.began), ended.Add(step.at), step.program)
		at, found, err := firstEffects(t.Context(), conn, []string{"A", "B"}, ended)
		if err != nil || found != step.found || found && !at.Equal(ended.Add(5*time.Second)) {
			t.Errorf("after %+v: %s, %t, %v", step, at, found, err)
		}
	}
}

// A job is taken when it was fetched after its worker was stopped. It is not when
// it was only given back, unless it is of a replay.
func TestTakenSince(t *testing.T) {
	t.Parallel()
	conn := pgtest.Conn(t, pgtest.New(t))
	stopped := time.Now().Round(time.Second)
	for _, job := range []struct {
		attempted time.Duration
		priority  int
		state     string
		want      int
	}{
		{-time.Second, 1, "running", 0}, {time.Second, 1, "running", 1}, {-time.Second, 1, "available", 0},
		{-time.Second, 2, "running", 0}, {time.Second, 2, "running", 1}, {-time.Second, 2, "available", 1},
	} {
		id := pgtest.Value[int64](t, conn, `INSERT INTO lumin.river_job (kind, args, max_attempts, state, attempted_at, priority)
			VALUES ('k', '{}', 5, $3::text::lumin.river_job_state, $1, $2) RETURNING id`, stopped.Add(job.attempted), job.priority, job.state)
		if n, err := takenSince(t.Context(), conn, []int64{id}, stopped); err != nil || n != job.want {
			t.Errorf("%+v: %d, %v", job, n, err)
		}
	}
}
