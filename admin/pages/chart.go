package pages

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// chart is a picture drawn by the server, with the same numbers as a table. All
// positions are in units of its view box.
type chart struct {
	ID, Title, Desc string
	Empty           string // why there is no picture; then nothing else is set

	Width, Height int
	Left, Edge    float64 // where the plot begins, and where the texts of the grid end
	Base          float64 // of the bars

	Grid   []mark // horizontal lines
	Labels []mark // below the plot
	Bars   []bar
	Lines  []line
	Dots   []dot
	Legend []legend

	Head []string
	Rows [][]string
}

type (
	mark struct {
		At   float64
		Text string
	}
	bar struct {
		X, Y, Width, Height float64
		Tone, Text          string
	}
	line struct{ Tone, Path string }
	dot  struct {
		X, Y       float64
		Tone, Text string
	}
	legend struct{ Tone, Name string }
)

// series are the values of one name, one for each step. NaN: there is none.
type series struct {
	Name, Tone string
	Values     []float64
}

// The view box of a chart.
const (
	chartWidth, chartHeight = 520, 190
	chartLeft, chartTop     = 56, 8
	chartBase               = chartHeight - 24
)

// frame is what the charts of one time have in common.
type frame struct {
	starts []time.Time // of the steps
	step   time.Duration
}

// label names a step, in the table and below the plot.
func (f frame) label(i int) string {
	switch at := f.starts[i].UTC(); {
	case f.step < 24*time.Hour && len(f.starts) <= 60:
		if f.step > time.Hour {
			return at.Format("Jan 2, 15:04")
		}
		return at.Format("15:04")
	default:
		return at.Format("Jan 2")
	}
}

// x is the left edge of a step.
func (f frame) x(i int) float64 {
	return round(chartLeft + float64(i)*(chartWidth-chartLeft)/float64(len(f.starts)))
}

// bars draws one bar for each step, with the series on top of each other.
func (f frame) bars(id, title, unit string, all []series) chart {
	sums := make([]float64, len(f.starts))
	for _, s := range all {
		for i, v := range s.Values {
			sums[i] += v
		}
	}
	highest := 0.0
	for _, sum := range sums {
		highest = max(highest, sum)
	}
	if highest == 0 {
		return chart{ID: id, Title: title, Empty: "Nothing in this time."}
	}
	c := f.plot(id, title, all, func(v float64) string { return count(int64(v)) })
	top := c.grid(highest, max(1, niceStep(highest/3)), func(v float64) string { return count(int64(v)) })
	width := round(f.x(1)-f.x(0)) - 2
	if len(f.starts) > 40 {
		width = round((f.x(1) - f.x(0)) * 0.8)
	}
	for i := range f.starts {
		y := float64(chartBase)
		for _, s := range all {
			if s.Values[i] == 0 {
				continue
			}
			h := max(1, s.Values[i]/top*(chartBase-chartTop))
			y -= h
			c.Bars = append(c.Bars, bar{f.x(i) + 1, round(y), max(1, width), round(h), s.Tone, fmt.Sprintf("%s, %s: %s %s", f.label(i), s.Name, count(int64(s.Values[i])), unit)})
		}
	}
	total := 0.0
	for _, sum := range sums {
		total += sum
	}
	c.Desc = fmt.Sprintf("%s %s in %s, at most %s in one of them.", count(int64(total)), unit, plural(len(sums), "step", "steps"), count(int64(highest)))
	return c
}

// lines draws one line for each series of durations, in seconds.
func (f frame) lines(id, title string, all []series) chart {
	highest := 0.0
	for _, s := range all {
		for _, v := range s.Values {
			if !math.IsNaN(v) {
				highest = max(highest, v)
			}
		}
	}
	if highest == 0 {
		return chart{ID: id, Title: title, Empty: "Nothing was measured in this time."}
	}
	c := f.plot(id, title, all, seconds)
	top := c.grid(highest, niceTime(highest/3), seconds)
	for _, s := range all {
		c.line(f, s, top)
	}
	c.Desc = "The highest value is " + seconds(highest) + "."
	return c
}

// line adds a line, which has gaps where there is no value. A value between two
// gaps is a dot.
func (c *chart) line(f frame, s series, top float64) {
	var d strings.Builder
	half := (f.x(1) - f.x(0)) / 2
	for i, v := range s.Values {
		if math.IsNaN(v) {
			continue
		}
		x, y := round(f.x(i)+half), round(chartBase-v/top*(chartBase-chartTop))
		if i > 0 && !math.IsNaN(s.Values[i-1]) {
			fmt.Fprintf(&d, "L%g %g", x, y)
		} else {
			fmt.Fprintf(&d, "M%g %g", x, y)
		}
		c.Dots = append(c.Dots, dot{x, y, s.Tone, fmt.Sprintf("%s, %s: %s", f.label(i), s.Name, seconds(v))})
	}
	c.Lines = append(c.Lines, line{s.Tone, d.String()})
}

// plot makes a chart without its picture: labels, legend and table.
func (f frame) plot(id, title string, all []series, text func(float64) string) chart {
	c := chart{ID: id, Title: title, Width: chartWidth, Height: chartHeight, Left: chartLeft, Edge: chartLeft - 6, Base: chartBase, Head: []string{"Time"}}
	for _, s := range all {
		c.Legend, c.Head = append(c.Legend, legend{s.Tone, s.Name}), append(c.Head, s.Name)
	}
	every := max(1, int(math.Ceil(float64(len(f.starts))/5)))
	for i := range f.starts {
		if i%every == every/2 {
			c.Labels = append(c.Labels, mark{round(f.x(i) + (f.x(1)-f.x(0))/2), f.label(i)})
		}
		row := []string{f.starts[i].UTC().Format("2006-01-02 15:04")}
		for _, s := range all {
			if math.IsNaN(s.Values[i]) {
				row = append(row, "–")
			} else {
				row = append(row, text(s.Values[i]))
			}
		}
		c.Rows = append(c.Rows, row)
	}
	return c
}

// grid adds lines at multiples of a step, and returns the value of the top.
func (c *chart) grid(highest, step float64, text func(float64) string) (top float64) {
	top = math.Ceil(highest/step) * step
	for v := step; v <= top*1.0001; v += step {
		c.Grid = append(c.Grid, mark{round(chartBase - v/top*(chartBase-chartTop)), text(v)})
	}
	return top
}

// niceTime is like niceStep for seconds: above half a minute, steps are whole
// minutes, hours or days.
func niceTime(v float64) float64 {
	const minute, hour, day = 60.0, 3600.0, 86400.0
	switch {
	case v <= minute/2:
		return niceStep(v)
	case v <= hour/2:
		return minute * niceStep(max(1, v/minute))
	case v <= day/2:
		return hour * niceStep(max(1, v/hour))
	}
	return day * niceStep(max(1, v/day))
}

// niceStep is the smallest of 1, 2 or 5 times a power of ten that is not below v.
func niceStep(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if m*power >= v*0.9999 {
			return m * power
		}
	}
	return 10 * power
}

// seconds formats a duration in seconds.
func seconds(s float64) string { return span(time.Duration(s * float64(time.Second))) }

// round keeps one digit after the point, to keep pages small.
func round(v float64) float64 { return math.Round(v*10) / 10 }

// spark is the small picture of a job type: its attempts by hour.
type spark struct {
	Title string
	Bars  []bar
}

// sparkOf draws attempts, and the part of them that failed.
func sparkOf(attempts, failed []float64) spark {
	highest, total, bad := 0.0, 0.0, 0.0
	for i, n := range attempts {
		highest, total, bad = max(highest, n), total+n, bad+failed[i]
	}
	s := spark{Title: fmt.Sprintf("%s, %s failed", plural(int64(total), "attempt", "attempts"), count(int64(bad)))}
	for i, n := range attempts {
		if n == 0 {
			continue
		}
		x, width, h := round(float64(i)*120/float64(len(attempts))), round(120/float64(len(attempts))-1), max(1, round(n/highest*22))
		s.Bars = append(s.Bars, bar{X: x, Y: 24 - h, Width: width, Height: h, Tone: "busy"})
		if failed[i] > 0 {
			h = max(1, round(failed[i]/highest*22))
			s.Bars = append(s.Bars, bar{X: x, Y: 24 - h, Width: width, Height: h, Tone: "bad"})
		}
	}
	return s
}
