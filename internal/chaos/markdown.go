//go:build unix

package main

import (
	"fmt"
	"strings"

	"lumin-ingest/internal/faults"
)

// markdown formats the result as a page.
func (r result) markdown() string {
	var text strings.Builder
	text.WriteString("# Results of the fault plan\n\n<!-- Generated: make chaos -->\n\n")
	fmt.Fprintf(&text, "%s, %d cores, %s, PostgreSQL %s.\n\n", r.Machine.System, r.Machine.Cores, r.Machine.Go, r.Machine.PostgreSQL)
	text.WriteString(`Times count from the end of a fault: until the first 200 of any program to a delivery that was sent
afterwards, and until all earlier work is done. Each is given as median / worst. The last two columns are bounds at
95 % on the rate of failures, 3 ÷ trials (the rule of three): per acknowledged delivery and per fault.
A row that may lose deliveries has no bounds, and the other invariants are not checked in it.

| row | deliveries | faults | lost | doubled | violations | first 200, s | last effect, s | per delivery | per fault | scale | result |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|
`)
	for _, row := range r.Rows {
		doubled, violations := fmt.Sprint(row.Doubled), fmt.Sprint(row.Violations)
		if row.Loses { // the invariants are not checked
			doubled, violations = "–", "–"
		}
		fmt.Fprintf(&text, "| [%s](#%s) | %s | %s | %d | %s | %s | %s | %s | %s | %s | %g | %s |\n", row.ID, row.anchor(),
			thousands(row.Events), thousands(row.Faults), row.Lost, doubled, violations,
			spread(row.First200), spread(row.LastEffect), rate(row.PerEvent), rate(row.PerFault), row.Scale, row.verdict())
	}
	for _, row := range r.Rows {
		row.section(&text)
	}
	return text.String()
}

// anchor is the id of the row's section.
func (r rowResult) anchor() string {
	return strings.ToLower(fmt.Sprintf("%s-seed-%d", r.ID, r.Seed))
}

func (r rowResult) verdict() string {
	switch {
	case !r.Passed:
		return "**failed**"
	case r.Loses:
		return "passed: losses were expected"
	}
	return "passed"
}

// section writes the details of a row.
func (r rowResult) section(text *strings.Builder) {
	fmt.Fprintf(text, "\n## %s seed %d\n\n%s.\n\n", r.ID, r.Seed, strings.ToUpper(r.Name[:1])+r.Name[1:])
	fmt.Fprintf(text, "Full size: %s. Run at scale %g on commit %s, %s, in %.0f s: `%s`\n", r.Size, r.Scale, r.Commit, r.Date, r.Lasted, r.Command)
	if r.Older != "" {
		fmt.Fprintf(text, "\nThe older program is that of commit %s.\n", r.Older)
	}
	if r.Attempts > 0 {
		fmt.Fprintf(text, "\n%s attempts at deliveries", thousands(r.Attempts))
		if r.Effects > 0 {
			fmt.Fprintf(text, ", %s effects; %d falsifications of the database were noticed", thousands(r.Effects), r.Damages)
		}
		text.WriteString(".\n")
	}
	if len(r.Measures) > 0 {
		text.WriteString("\n| figure | value | bound |\n|---|---:|---:|\n")
		for _, m := range r.Measures {
			fmt.Fprintf(text, "| %s | %s | %s |\n", m.Name, strings.TrimSpace(number3(m.Value)+" "+m.Unit), m.Bound)
		}
	}
	for n, problem := range r.Problems {
		if n == 0 {
			text.WriteString("\n")
		}
		fmt.Fprintf(text, "- %s\n", strings.ReplaceAll(problem, "\n", " "))
	}
}

// spread formats times as median / worst.
func spread(s *faults.Spread) string {
	if s == nil {
		return "–"
	}
	return recovery(s.Median) + " / " + recovery(s.Worst)
}

// recovery formats the seconds until something happened. A run lasts less than a
// year.
func recovery(seconds float64) string {
	if seconds > 365*24*3600 {
		return "never"
	}
	return fmt.Sprintf("%.1f", seconds)
}

// rate formats a bound on a rate. One above 1 says nothing.
func rate(bound float64) string {
	if bound == 0 || bound > 1 {
		return "–"
	}
	return fmt.Sprintf("%.1e", bound)
}

// number3 formats a figure with three significant digits, or all of an integer.
func number3(value float64) string {
	if value == float64(int(value)) {
		return thousands(int(value))
	}
	return fmt.Sprintf("%.3g", value)
}

// thousands formats a number with commas.
func thousands(n int) string {
	text := fmt.Sprint(n)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}
