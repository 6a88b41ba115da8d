//go:build unix

package faults

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"lumin-ingest/internal/pgproxy"
)

// planned lists the faults that a seed draws.
func planned(seed uint64, cfg Config, bursts int) []string {
	cfg.Seed = seed
	r := &runner{
		cfg:      cfg,
		programs: []*program{{name: "A"}, {name: "B"}},
		servers:  &servers{proxies: make([]*pgproxy.Proxy, 2)},
	}
	var all []string
	for plan := newSchedule(r); len(all) < bursts; {
		wait, drawn := plan.next()
		text := wait.String()
		for _, d := range drawn {
			text += "; " + d.fault.Name + ": " + d.shot.what + ", then " + d.gap.String()
		}
		all = append(all, text)
	}
	return all
}

func TestSeedDecides(t *testing.T) {
	t.Parallel()
	cfg := Config{Faults: All()}
	one, same, other := planned(1, cfg, 100), planned(1, cfg, 100), planned(2, cfg, 100)
	if !slices.Equal(one, same) {
		t.Error("the same seed drew something else the second time")
	}
	if slices.Equal(one, other) {
		t.Error("two seeds drew the same")
	}
	everything := strings.Join(one, "\n")
	for _, f := range All() {
		if !strings.Contains(everything, "; "+f.Name+": ") {
			t.Errorf("%s was not drawn in 100 bursts", f.Name)
		}
	}
}

func TestFaultsInOrder(t *testing.T) {
	t.Parallel()
	chosen, err := Named("network-cut", "server-kill")
	if err != nil {
		t.Fatal(err)
	}
	got := planned(1, Config{Faults: chosen, InOrder: true}, 2)
	first, second := strings.Index(got[0], "network-cut"), strings.Index(got[0], "server-kill")
	if first < 0 || second < first || strings.Contains(got[1], ";") {
		t.Errorf("drawn: %q", got)
	}
	if _, err := Named("network-cut", "sabotage"); err == nil {
		t.Error("a fault that does not exist was found")
	}
}

// A fault that hit nothing is no fault of the run, and ends no burst.
func TestMissedFault(t *testing.T) {
	t.Parallel()
	r := &runner{cfg: Config{Log: func(string, ...any) {}}, started: time.Now(), servers: &servers{}}
	var tried []string
	fault := func(name string, err error) draw {
		return draw{fault: Fault{Name: name}, shot: shot{do: func(context.Context) error {
			tried = append(tried, name)
			return err
		}}}
	}
	if err := r.injectBurst(t.Context(), []draw{fault("one", errMissed), fault("two", fmt.Errorf("wrapped: %w", errMissed))}); err != nil {
		t.Error(err)
	}
	if _, err := r.inject(t.Context(), fault("three", nil)); err != nil {
		t.Error(err)
	}
	if _, err := r.inject(t.Context(), fault("four", errMissed)); !errors.Is(err, errMissed) {
		t.Errorf("missed: %v", err)
	}
	if len(tried) != 4 || len(r.rows) != 1 || r.rows[0].Fault != "three" {
		t.Errorf("tried %q, %d rows", tried, len(r.rows))
	}
}

// Each bound counts from the end of the last fault of a burst.
func TestJudge(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, c := range []struct {
		name     string
		rows     []*Row
		problems int
	}{
		{"in time", []*Row{{FirstAck: 60 * time.Second, ended: now}}, 0},
		{"too late", []*Row{{LastEffect: 61 * time.Second, ended: now}}, 1},
		{"twice too late", []*Row{{LastEffect: 61 * time.Second, Ready: time.Hour, ended: now}}, 2},
		{"late because of a second fault", []*Row{{Ready: 70 * time.Second, ended: now}, {ended: now.Add(20 * time.Second)}}, 0},
		{"too late after the second fault", []*Row{{Ready: 81 * time.Second, ended: now}, {ended: now.Add(20 * time.Second)}}, 1},
	} {
		r := &runner{cfg: Config{Log: func(string, ...any) {}}, started: now}
		r.judge(t.Context(), c.rows, usualBound)
		if got := r.allProblems(); len(got) != c.problems {
			t.Errorf("%s: problems %q, want %d", c.name, got, c.problems)
		}
	}
}
