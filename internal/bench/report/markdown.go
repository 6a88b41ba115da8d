package report

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Markdown returns the result as a page that shows the given pictures.
func (r *Result) Markdown(pictures []string) string {
	var b strings.Builder
	b.WriteString("# Benchmark results\n\n<!-- Generated: make bench -->\n\n")
	r.describe(&b)
	r.targets(&b)
	for _, s := range r.Scenarios {
		fmt.Fprintf(&b, "## %s\n\n%s\n\n", s.Title, s.Note)
		if s.Failed {
			b.WriteString("**This scenario ended with an error, so rounds are missing.**\n\n")
		}
		s.table(&b)
		for _, skipped := range s.Skipped {
			fmt.Fprintf(&b, "Left out: %s.\n\n", skipped)
		}
		for _, picture := range pictures {
			if strings.HasPrefix(picture, s.ID+"-") {
				fmt.Fprintf(&b, "![%s](%s)\n\n", s.Title, picture)
			}
		}
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func (r *Result) describe(b *strings.Builder) {
	fmt.Fprintf(b, "| | |\n|---|---|\n")
	row := func(name, value string) { fmt.Fprintf(b, "| %s | %s |\n", name, value) }
	row("date", r.Run.Date)
	row("commit", r.Run.Commit)
	row("command", "`"+r.Run.Command+"`")
	row("rounds", fmt.Sprintf("%d, each of %s s; backlogs of %s events", r.Run.Rounds, number(r.Run.Seconds), number(float64(r.Run.Backlog))))
	row("machine", fmt.Sprintf("%s, %d cores, %s GiB of memory, %s", r.Machine.Processor, r.Machine.Cores, number(float64(r.Machine.Memory)/(1<<30)), r.Machine.System))
	row("Go", r.Machine.Go)
	row("PostgreSQL", r.Machine.PostgreSQL)
	var settings []string
	for _, name := range slices.Sorted(maps.Keys(r.Machine.PostgreSQLSettings)) {
		settings = append(settings, name+" = "+r.Machine.PostgreSQLSettings[name])
	}
	row("its settings", strings.Join(settings, ", "))
	b.WriteString("\nEvery figure is the median of the rounds, with the smallest and the largest value in\n" +
		"parentheses. The contestants take turns within a round, and ratios are formed within a round.\n\n")
}

func (r *Result) targets(b *strings.Builder) {
	if len(r.Targets) == 0 {
		return
	}
	b.WriteString("## Targets\n\n| # | figure | measured | target | met |\n|---|---|---|---|---|\n")
	for _, o := range r.Targets {
		measured, met := "not measured", "–"
		if o.Measured != nil {
			measured, met = o.Measured.text()+" "+o.Unit, "**no**"
			if o.Met {
				met = "yes"
			}
		}
		sign := "≤"
		if o.AtLeast {
			sign = "≥"
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s %s %s | %s |\n", o.ID, o.What, measured, sign, number(o.Limit), o.Unit, met)
	}
	b.WriteString("\n")
}

// table writes the rows of a scenario with a column per metric.
func (s *Scenario) table(b *strings.Builder) {
	var columns []*Metric
	for _, r := range s.Rows {
		for _, m := range r.Metrics {
			if !slices.ContainsFunc(columns, func(c *Metric) bool { return c.Name == m.Name && c.Unit == m.Unit }) {
				columns = append(columns, m)
			}
		}
	}
	b.WriteString("| |")
	for _, c := range columns {
		fmt.Fprintf(b, " %s, %s |", c.Name, c.Unit)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(columns)) + "\n")
	for _, r := range s.Rows {
		fmt.Fprintf(b, "| %s |", r.Name)
		for _, c := range columns {
			text := "–"
			if m := r.metric(c.Name); m != nil && m.Unit == c.Unit {
				text = m.Spread().text()
			}
			fmt.Fprintf(b, " %s |", text)
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
}

// text is the median with the smallest and the largest value, if they differ.
func (s Spread) text() string {
	middle, low, high := number(s.Median), number(s.Min), number(s.Max)
	if low == high {
		return middle
	}
	return fmt.Sprintf("%s (%s–%s)", middle, low, high)
}

// number writes a number with three significant digits, or more if it is large,
// and with commas between thousands.
func number(v float64) string {
	switch size := math.Abs(v); {
	case math.IsNaN(v):
		return "–"
	case size >= 100 || v == math.Trunc(v):
		return thousands(strconv.FormatFloat(v, 'f', 0, 64))
	case size >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
}

func thousands(digits string) string {
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
