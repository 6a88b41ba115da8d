//go:build unix

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"lumin-ingest/internal/faults"
)

// Each row of the fault plan is there once.
func TestRows(t *testing.T) {
	t.Parallel()
	seen := map[int]bool{}
	ids := map[string]bool{}
	for _, r := range rows() {
		if ids[r.id] || r.name == "" || r.size == "" {
			t.Errorf("row %q is there twice, or is incomplete", r.id)
		}
		ids[r.id], seen[number(r.id)] = true, true
	}
	for n := 1; n <= 20; n++ {
		if !seen[n] {
			t.Errorf("T%d is missing", n)
		}
	}
	if chosen, err := choose([]string{"t8A", "T1"}); err != nil || len(chosen) != 2 || chosen[0].id != "T8a" {
		t.Errorf("chosen: %v, %v", chosen, err)
	}
	if _, err := choose([]string{"T99"}); err == nil {
		t.Error("a row that is not there was found")
	}
}

// The tests that carry out rows exist, and read the variable of their size.
func TestTestsExist(t *testing.T) {
	t.Parallel()
	for _, one := range tests() {
		folder := filepath.Join("..", "..", one.folder)
		files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
		if err != nil || len(files) == 0 {
			t.Errorf("%s: no tests in %s (%v)", one.id, folder, err)
		}
		name := regexp.MustCompile(`(?m)^func ` + strings.Trim(one.run, "^$") + `\b`)
		var found, sized bool
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			found = found || name.Match(text)
			sized = sized || one.variable == "" || strings.Contains(string(text), one.variable)
		}
		if !found || !sized {
			t.Errorf("%s: %s in %s: found %t, reads %s %t", one.id, one.run, folder, found, one.variable, sized)
		}
	}
}

func TestReadTest(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		output  string
		events  int
		problem string
	}{
		"passed": {`{"Action":"output","Test":"TestA","Output":"    a_test.go:1: figure: events = 12 \n"}
{"Action":"output","Test":"TestA","Output":"    a_test.go:2: figure: p99 = 1.5 ms\n"}
{"Action":"pass","Test":"TestA"}`, 12, ""},
		"object": {`{"Action":"output","Test":"TestA","Output":"    a_test.go:1: {\"deliveries\":7,\"answers\":{\"401\":3},\"ends\":[1,2]}\n"}
{"Action":"pass","Test":"TestA"}`, 7, ""},
		"parts": {`{"Action":"pass","Test":"TestA/one","Elapsed":2}
{"Action":"pass","Test":"TestA"}`, 0, ""},
		"failed":  {`{"Action":"fail","Test":"TestA"}`, 0, "TestA failed"},
		"skipped": {`{"Action":"skip","Test":"TestA"}`, 0, "TestA was skipped"},
		"nothing": {`{"Action":"pass","Package":"p"}`, 0, "no test ran"},
	} {
		out, err := readTest(strings.NewReader(c.output))
		if err != nil || out.Events != c.events || strings.Join(out.Problems, "") != c.problem {
			t.Errorf("%s: %+v, %v", name, out, err)
		}
		if want := map[string]int{"passed": 1, "object": 3, "parts": 1}[name]; len(out.Measures) != want {
			t.Errorf("%s: measures %v", name, out.Measures)
		}
	}
}

// A row in which losses are expected counts them, and has no bound. The others
// must not lose anything.
func TestRowThatLoses(t *testing.T) {
	t.Parallel()
	out := &faults.Outcome{ID: "T8a", Name: "a row", Size: "1", Seed: 1, Scale: 1, Events: 1000, Faults: 30, Loses: true}
	for lost, want := range map[int]string{
		0:  "| [T8a](#t8a-seed-1) | 1,000 | 30 | 0 | – | – | – | – | – | – | 1 | passed: losses were expected |",
		93: "| [T8a](#t8a-seed-1) | 1,000 | 30 | 93 | – | – | – | – | – | – | 1 | passed: losses were expected |",
	} {
		out.Lost = lost
		done := rowResult{Outcome: out, Passed: out.Passed(), PerEvent: ruleOfThree(out, out.Events), PerFault: ruleOfThree(out, out.Faults), Older: "c0ffee"}
		page := result{Rows: []rowResult{done}}.markdown()
		if !strings.Contains(page, want) || !strings.Contains(page, "is that of commit c0ffee.") {
			t.Errorf("the page does not contain %q:\n%s", want, page)
		}
	}
}

// A row replaces the same row with the same seed. Other rows stay.
func TestPublish(t *testing.T) {
	t.Parallel()
	b := &bench{options: options{out: t.TempDir(), seed: 1, scale: 1}}
	for _, r := range []struct {
		id   string
		seed uint64
		lost int
	}{{"T10", 1, 0}, {"T2", 1, 5}, {"T2", 2, 0}, {"T2", 1, 0}} {
		out := &faults.Outcome{ID: r.id, Name: "a row", Size: "1", Seed: r.seed, Scale: 1, Lost: r.lost, Events: 1000, Faults: 30}
		if r.lost > 0 {
			out.Problems = []string{"lost"}
		}
		done := rowResult{Outcome: out, Passed: out.Passed(), PerEvent: ruleOfThree(out, out.Events), Command: "make chaos ROWS=" + r.id}
		if want := map[bool]float64{true: 0, false: 0.003}[r.lost > 0]; done.PerEvent != want {
			t.Errorf("bound %g, want %g", done.PerEvent, want)
		}
		if err := b.publish(done); err != nil {
			t.Fatal(err)
		}
	}
	again, err := readResult(b.out)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range again.Rows {
		text, err := json.Marshal([]any{r.ID, r.Seed, r.Lost, r.Passed})
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(text))
	}
	if want := []string{`["T2",1,0,true]`, `["T2",2,0,true]`, `["T10",1,0,true]`}; !slices.Equal(got, want) {
		t.Errorf("rows %s, want %s", got, want)
	}
	page, err := os.ReadFile(filepath.Join(b.out, "result.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| [T10](#t10-seed-1) | 1,000 | 30 | 0 | 0 | 0 | – | – | 3.0e-03 | – | 1 | passed |", "## T2 seed 2\n", "`make chaos ROWS=T10`"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page does not contain %q:\n%s", want, page)
		}
	}
}
