package report

import (
	"fmt"
	"html"
	"slices"
	"strings"
)

// picture is a bar chart of one scenario: a bar per row, which may be stacked.
type picture struct {
	file   string
	title  string
	unit   string
	better string // lower or higher
	legend []string
	bars   []bar
}

// bar is one row. Its parts add up to total, except for rounding: each is a
// median of its own.
type bar struct {
	name  string
	parts []float64
	total Spread
}

// chart says which metrics of a scenario make a picture.
type chart struct {
	scenario, file, title, better string
	total                         string   // the metric whose value and spread are shown
	parts                         []string // the metrics of a stacked bar; nil means total alone
}

// charts lists all pictures.
func charts() []chart {
	cpu := []string{MetricProgram, MetricServer}
	return []chart{
		{"p1", "p1-latency.svg", "One caller: median latency of a delivery", "lower", MetricP50, nil},
		{"p1", "p1-cpu.svg", "One caller: CPU time per event", "lower", MetricCPU, cpu},
		{"p2", "p2-cpu.svg", "64 callers: CPU time per event", "lower", MetricCPU, cpu},
		{"p2", "p2-wal.svg", "64 callers: write-ahead log per event", "lower", MetricWAL, nil},
		{"p3", "p3-rate.svg", "64 connections: acknowledged deliveries", "higher", MetricRate, nil},
		{"p3", "p3-cpu.svg", "64 connections: CPU time per event", "lower", MetricCPU, cpu},
		{"p4", "p4-cpu.svg", "Backlog of signature_request_state: CPU time per event", "lower", MetricCPU, cpu},
		{"p4", "p4-rate.svg", "Backlog of signature_request_state: rate", "higher", MetricRate, nil},
		{"p5", "p5-rate.svg", "From delivery to effect: rate", "higher", MetricRate, nil},
		{"p5", "p5-cpu.svg", "From delivery to effect: CPU time per event", "lower", MetricCPU, cpu},
		{"p6", "p6-cpu.svg", "An ordinary transactional job: CPU time per event", "lower", MetricCPU, cpu},
		{"p7", "p7-latency.svg", "200 deliveries a second during a backlog: p99", "lower", MetricP99, nil},
		{"p7", "p7-drain.svg", "200 deliveries a second: time to drain the backlog", "lower", MetricDrain, nil},
		{"p8", "p8-effect.svg", "From answer to committed effect: p99", "lower", MetricEffectP99, nil},
		{"p9", "p9-rate.svg", "Empty and filled database: acknowledged deliveries", "higher", MetricRate, nil},
		{"p10", "p10-memory.svg", "Resident memory", "lower", MetricMemory, nil},
		{"p11", "p11-rate.svg", "Distinct events and duplicates: acknowledged deliveries", "higher", MetricRate, nil},
		{"p12", "p12-rate.svg", "A distant PostgreSQL: acknowledged deliveries", "higher", MetricRate, nil},
	}
}

// pictures returns the pictures of the scenarios that ran.
func (r *Result) pictures() (all []picture) {
	for _, c := range charts() {
		s := r.scenario(c.scenario)
		if s == nil {
			continue
		}
		p := picture{file: c.file, title: c.title, better: c.better, legend: c.parts}
		for _, row := range s.Rows {
			total := row.metric(c.total)
			if total == nil {
				continue
			}
			p.unit = total.Unit
			b := bar{name: row.Name, total: total.Spread()}
			for _, name := range c.parts {
				if m := row.metric(name); m != nil {
					b.parts = append(b.parts, m.Spread().Median)
				}
			}
			if b.parts == nil {
				b.parts = []float64{b.total.Median}
			}
			p.bars = append(p.bars, b)
		}
		if len(p.bars) > 0 {
			all = append(all, p)
		}
	}
	return all
}

// Sizes of a picture, in pixels.
const (
	width     = 760
	left      = 190 // of the bars
	barsWidth = 380
	rowHeight = 34
	top       = 66
	barHeight = 20
)

// style has colors for light and for dark screens. It uses no CSS variables,
// because some programs that show SVG do not know them. The parts of a bar
// differ in brightness, not only in hue.
const style = `
text { font: 14px system-ui, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif; fill: #1f2328; }
.title { font-size: 16px; font-weight: 600; }
.quiet { fill: #59636e; font-size: 12px; }
.back { fill: #ffffff; } .first { fill: #0a5cc2; } .second { fill: #86b9f5; }
.axis { stroke: #d1d9e0; } .spread { stroke: #1f2328; stroke-width: 1.5; }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc; } .quiet { fill: #a3adb8; }
  .back { fill: #0d1117; } .first { fill: #58a6ff; } .second { fill: #1f5fae; }
  .axis { stroke: #3d444d; } .spread { stroke: #f0f6fc; }
}
`

func (p picture) svg() string {
	var b strings.Builder
	height := top + rowHeight*len(p.bars) + 12
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="title desc">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, "<title id=\"title\">%s</title>\n<desc id=\"desc\">%s</desc>\n<style>%s</style>\n", html.EscapeString(p.title), html.EscapeString(p.description()), style)
	fmt.Fprintf(&b, `<rect class="back" width="%d" height="%d"/>`+"\n", width, height)
	fmt.Fprintf(&b, `<text class="title" x="12" y="26">%s</text>`+"\n", html.EscapeString(p.title))
	p.drawLegend(&b)
	scale := p.scale()
	for i, bar := range p.bars {
		bar.draw(&b, top+i*rowHeight, scale)
	}
	fmt.Fprintf(&b, `<line class="axis" x1="%d" y1="%d" x2="%d" y2="%d"/>`+"\n</svg>\n", left, top-4, left, height-8)
	return b.String()
}

// description is the picture's content as text, for those who cannot see it.
func (p picture) description() string {
	var rows []string
	for _, b := range p.bars {
		rows = append(rows, b.name+": "+b.total.text()+" "+p.unit)
	}
	return p.better + " is better. " + strings.Join(rows, "; ")
}

func (p picture) drawLegend(b *strings.Builder) {
	fmt.Fprintf(b, `<text class="quiet" x="12" y="48">%s, %s is better; line: smallest to largest</text>`+"\n", html.EscapeString(p.unit), p.better)
	x := left + barsWidth - 100
	for i, name := range p.legend {
		fmt.Fprintf(b, `<rect class="%s" x="%d" y="38" width="12" height="12"/><text class="quiet" x="%d" y="48">%s</text>`+"\n", shade(i), x, x+17, html.EscapeString(name))
		x += 130
	}
}

// scale returns pixels per unit.
func (p picture) scale() float64 {
	longest := 0.0
	for _, b := range p.bars {
		longest = max(longest, b.total.Max, sum(b.parts))
	}
	if longest <= 0 {
		return 0
	}
	return barsWidth / longest
}

func (bar bar) draw(b *strings.Builder, y int, scale float64) {
	middle := y + barHeight/2
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", left-10, middle+5, html.EscapeString(bar.name))
	x := float64(left)
	for i, part := range bar.parts {
		fmt.Fprintf(b, `<rect class="%s" x="%.1f" y="%d" width="%.1f" height="%d"/>`+"\n", shade(i), x, y, part*scale, barHeight)
		x += part * scale
	}
	end := max(x, left+bar.total.Max*scale)
	if bar.total.Max > bar.total.Min {
		fmt.Fprintf(b, `<line class="spread" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>`+"\n", left+bar.total.Min*scale, middle, left+bar.total.Max*scale, middle)
	}
	fmt.Fprintf(b, `<text x="%.1f" y="%d">%s</text>`+"\n", end+8, middle+5, bar.total.text())
}

func shade(i int) string { return []string{"first", "second"}[i%2] }

func sum(values []float64) (total float64) {
	for v := range slices.Values(values) {
		total += v
	}
	return total
}
