package report

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// result has two rounds of two rows.
func result() *Result {
	r := &Result{Machine: Machine{Processor: "A processor", Cores: 2, PostgreSQLSettings: map[string]string{"fsync": "on"}}}
	s := &Scenario{ID: "p2", Title: "P2 & P3", Note: "A note."}
	r.Scenarios = append(r.Scenarios, s)
	for round, value := range []float64{100, 50} {
		s.Add("ours", MetricCPU, "µs", value)
		s.Add("ours", MetricProgram, "µs", value/2)
		s.Add("ours", MetricServer, "µs", value/2)
		s.Add("a <rival>", MetricCPU, "µs", value*float64(4+round))
		s.Add("ours", MetricRate, "deliveries/s", 1234567)
	}
	s.Skip("pgbench: not installed")
	return r
}

func TestSpread(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		values []float64
		want   Spread
	}{
		{[]float64{3}, Spread{3, 3, 3}},
		{[]float64{9, 1, 4}, Spread{4, 1, 9}},
		{[]float64{4, 1, 2, 3}, Spread{2.5, 1, 4}},
	} {
		if got := spread(c.values); got != c.want {
			t.Errorf("spread(%v) = %v, want %v", c.values, got, c.want)
		}
	}
}

// Ratios are formed within a round, so that a machine that is faster in one
// round does not change them.
func TestJudge(t *testing.T) {
	t.Parallel()
	r := result()
	r.Judge([]Target{
		{ID: "P2", Scenario: "p2", Metric: MetricCPU, Of: "ours", Against: "a <rival>", Limit: 0.23},
		{ID: "P2", Scenario: "p2", Metric: MetricCPU, Of: "ours", Against: "a <rival>", Limit: 0.2},
		{ID: "P3", Scenario: "p2", Metric: MetricRate, Of: "ours", AtLeast: true, Limit: 1000},
		{ID: "P3", Scenario: "p2", Metric: MetricRate, Of: "ours", Against: "pgbench", Limit: 1},
		{ID: "P4", Scenario: "p4", Metric: MetricCPU, Of: "ours", Limit: 1},
	})
	if len(r.Targets) != 4 {
		t.Fatalf("%d outcomes, want 4: a scenario that did not run has none", len(r.Targets))
	}
	if m := r.Targets[0].Measured; m == nil || *m != (Spread{0.225, 0.2, 0.25}) {
		t.Errorf("the ratio is %v, want 0.225 from 0.2 to 0.25", m)
	}
	for i, met := range []bool{true, false, true, false} {
		if r.Targets[i].Met != met {
			t.Errorf("target %d is met: %t, want %t", i, r.Targets[i].Met, met)
		}
	}
	if r.Targets[3].Measured != nil {
		t.Error("a target without its rival was measured")
	}
}

func TestMarkdown(t *testing.T) {
	t.Parallel()
	r := result()
	r.Judge([]Target{{ID: "P2", Scenario: "p2", Metric: MetricCPU, Of: "ours", Against: "a <rival>", Limit: 0.2}})
	page := r.Markdown([]string{"p2-cpu.svg", "p1-cpu.svg"})
	for _, want := range []string{
		"| ours | 75 (50–100) |", "1,234,567", "| P2 | CPU, ours ÷ a <rival> | 0.23 (0.20–0.25) × | ≤ 0.20 × | **no** |",
		"Left out: pgbench: not installed.", "![P2 & P3](p2-cpu.svg)", "fsync = on",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	if strings.Contains(page, "p1-cpu.svg") {
		t.Error("the page shows a picture of another scenario")
	}
}

func TestWrite(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "results")
	if err := result().Write(folder); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(folder, "result.json"))
	if err != nil {
		t.Fatal(err)
	}
	var read struct {
		Scenarios []struct {
			Rows []struct {
				Metrics []struct {
					Values []float64
					Median float64
				}
			}
		}
	}
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	if m := read.Scenarios[0].Rows[0].Metrics[0]; m.Median != 75 || len(m.Values) != 2 {
		t.Errorf("the file has %+v", m)
	}
	for _, name := range []string{"result.md", "p2-cpu.svg", "p2-cpu.svg"} {
		if _, err := os.Stat(filepath.Join(folder, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestPicturesAreValidXML(t *testing.T) {
	t.Parallel()
	for _, p := range result().pictures() {
		decoder := xml.NewDecoder(strings.NewReader(p.svg()))
		for {
			_, err := decoder.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", p.file, err)
			}
		}
		for _, want := range []string{"prefers-color-scheme: dark", "is better", "<title"} {
			if !strings.Contains(p.svg(), want) {
				t.Errorf("%s lacks %q", p.file, want)
			}
		}
	}
}

func TestNumber(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]string{0: "0", 0.225: "0.23", 7: "7", 12.34: "12.3", 999.6: "1,000", 1234567: "1,234,567", -1234: "-1,234"} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %s, want %s", v, got, want)
		}
	}
}
