package report

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
)

// Result is the result of one run of the benchmark.
type Result struct {
	Machine   Machine     `json:"machine"`
	Run       Run         `json:"run"`
	Scenarios []*Scenario `json:"scenarios"`
	Targets   []Outcome   `json:"targets"`
}

// Machine describes where the benchmark ran.
type Machine struct {
	System             string            `json:"system"`
	Processor          string            `json:"processor"`
	Cores              int               `json:"cores"`
	Memory             int64             `json:"memory_bytes"`
	Go                 string            `json:"go"`
	PostgreSQL         string            `json:"postgresql"`
	PostgreSQLSettings map[string]string `json:"postgresql_settings"`
}

// Run describes what was run, and when.
type Run struct {
	Date    string  `json:"date"`
	Commit  string  `json:"commit"`
	Command string  `json:"command"`
	Rounds  int     `json:"rounds"`
	Seconds float64 `json:"seconds"`
	Backlog int     `json:"backlog"`
	Events  int     `json:"events"`
}

// Scenario is a group of measurements that were made in alternating rounds.
type Scenario struct {
	ID      string   `json:"id"`
	Title   string   `json:"title"`
	Note    string   `json:"note"`
	Rows    []*Row   `json:"rows"`
	Skipped []string `json:"skipped,omitempty"` // contestants, with the reason
	Failed  bool     `json:"failed,omitempty"`  // it ended with an error: rounds are missing
}

// Row is one contestant, or one task.
type Row struct {
	Name    string    `json:"name"`
	Metrics []*Metric `json:"metrics"`
}

// Metric is one figure of a row, with a value per round.
type Metric struct {
	Name   string    `json:"name"`
	Unit   string    `json:"unit"`
	Values []float64 `json:"values"`
}

// Add adds the value of one round.
func (s *Scenario) Add(row, metric, unit string, value float64) {
	i := slices.IndexFunc(s.Rows, func(r *Row) bool { return r.Name == row })
	if i < 0 {
		i = len(s.Rows)
		s.Rows = append(s.Rows, &Row{Name: row})
	}
	r := s.Rows[i]
	if m := r.metric(metric); m != nil {
		m.Values = append(m.Values, value)
		return
	}
	r.Metrics = append(r.Metrics, &Metric{Name: metric, Unit: unit, Values: []float64{value}})
}

// Skip notes that a contestant was left out.
func (s *Scenario) Skip(what string) { s.Skipped = append(s.Skipped, what) }

func (s *Scenario) row(name string) *Row {
	for _, r := range s.Rows {
		if r.Name == name {
			return r
		}
	}
	return nil
}

func (r *Row) metric(name string) *Metric {
	if r == nil {
		return nil
	}
	for _, m := range r.Metrics {
		if m.Name == name {
			return m
		}
	}
	return nil
}

func (r *Result) scenario(id string) *Scenario {
	for _, s := range r.Scenarios {
		if s.ID == id {
			return s
		}
	}
	return nil
}

// Spread is the median of the rounds with the smallest and the largest value.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// Spread returns the spread of a metric's values.
func (m *Metric) Spread() Spread { return spread(m.Values) }

// MarshalJSON adds the spread to the values.
func (m *Metric) MarshalJSON() ([]byte, error) {
	type plain Metric
	return json.Marshal(struct {
		*plain
		Spread
	}{(*plain)(m), m.Spread()})
}

func spread(values []float64) Spread {
	if len(values) == 0 {
		return Spread{math.NaN(), math.NaN(), math.NaN()}
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return Spread{(sorted[(n-1)/2] + sorted[n/2]) / 2, sorted[0], sorted[n-1]}
}

// Write writes result.json, result.md and the pictures into a folder, which it
// creates if necessary. Pictures of scenarios that did not run are left as they
// are.
func (r *Result) Write(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	files := map[string]string{"result.json": string(text) + "\n"}
	pictures := r.pictures()
	names := make([]string, 0, len(pictures))
	for _, p := range pictures {
		files[p.file] = p.svg()
		names = append(names, p.file)
	}
	files["result.md"] = r.Markdown(names)
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
