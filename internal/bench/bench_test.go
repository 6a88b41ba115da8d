package main

import (
	"slices"
	"strings"
	"testing"
)

func TestVerify(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		done   done
		worked bool
		right  bool
	}{
		"all equal":                   {done{5, 5, 5, 5}, true, true},
		"only recorded":               {done{5, 5, 5, 0}, false, true},
		"an event is lost":            {done{5, 4, 5, 5}, true, false},
		"an event was not answered":   {done{5, 6, 6, 6}, true, false},
		"a run is missing":            {done{5, 5, 4, 5}, true, false},
		"an effect is missing":        {done{5, 5, 5, 4}, true, false},
		"an effect is doubled":        {done{5, 5, 5, 6}, true, false},
		"an effect without a worker":  {done{5, 5, 5, 1}, false, false},
		"nothing was done, as wanted": {done{}, true, true},
	} {
		if err := c.done.verify(c.worked); (err == nil) != c.right {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	o, err := parse([]string{"-scenario", "P1, p3", "-variant", "wide: QUEUES=a=256,b=2 X=2"})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(o.scenarios, []string{"p1", "p3"}) {
		t.Errorf("scenarios %q", o.scenarios)
	}
	if v := o.variants[0]; v.name != "ours wide" || !slices.Equal(v.env, []string{"QUEUES=a=256,b=2", "X=2"}) {
		t.Errorf("variant %+v", v)
	}
	for _, args := range [][]string{{"-scenario", "p99"}, {"-rounds", "0"}, {"-seconds", "-1"}, {"more"}, {"-events", "1"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
	if _, err := parse([]string{"-variant", "nothing"}); err == nil {
		t.Error("a variant without a colon is accepted")
	}
}

// Every target belongs to a scenario, and the scenarios of -quick are measured
// for their counts.
func TestScenariosAndTargets(t *testing.T) {
	t.Parallel()
	ids := append(scenarioIDs(), operatorsID)
	for _, target := range targets() {
		if !slices.Contains(ids, target.Scenario) {
			t.Errorf("target %s is of scenario %q", target.ID, target.Scenario)
		}
	}
	var quick []string
	for _, s := range scenarios() {
		if !strings.HasPrefix(s.title, strings.ToUpper(s.id)) || !strings.HasSuffix(s.note, ".") {
			t.Errorf("%s has the title %q and the note %q", s.id, s.title, s.note)
		}
		if s.quick {
			quick = append(quick, s.id)
		}
	}
	if want := []string{"p1", "p2", "p3", "p4", "p5", "p6"}; !slices.Equal(quick, want) {
		t.Errorf("quick scenarios are %q, want %q", quick, want)
	}
}
