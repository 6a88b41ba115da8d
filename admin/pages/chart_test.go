package pages

import (
	"math"
	"testing"
	"time"
)

func hours(n int, step time.Duration) frame {
	f := frame{step: step}
	for i := range n {
		f.starts = append(f.starts, time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC).Add(time.Duration(i)*step))
	}
	return f
}

// The bars of a step stand on each other, fit into the plot, and have the height of
// their values. The table has all values.
func TestBars(t *testing.T) {
	t.Parallel()
	c := hours(3, time.Hour).bars("x", "Runs", "runs", []series{{"good", "ok", []float64{1, 0, 3}}, {"bad", "bad", []float64{1, 0, 9}}})
	if len(c.Bars) != 4 || len(c.Rows) != 3 || len(c.Rows[2]) != 3 || c.Rows[2][1] != "3" || c.Rows[2][2] != "9" || len(c.Legend) != 2 {
		t.Fatalf("%+v", c)
	}
	third, fourth := c.Bars[2], c.Bars[3]
	if third.Y != round(fourth.Y+fourth.Height) || third.X != fourth.X || fourth.Height < 2.9*third.Height || fourth.Height > 3.1*third.Height {
		t.Errorf("%+v", c.Bars)
	}
	for _, b := range c.Bars {
		if b.Y < chartTop-1 || b.Y+b.Height > chartBase+0.2 || b.X < chartLeft || b.X+b.Width > chartWidth {
			t.Errorf("outside of the plot: %+v", b)
		}
	}
	if c.Desc != "14 runs in 3 steps, at most 12 in one of them." || fourth.Text != "02:00, bad: 9 runs" {
		t.Errorf("%q, %q", c.Desc, fourth.Text)
	}
	if empty := hours(2, time.Hour).bars("x", "Runs", "runs", nil); empty.Empty == "" || len(empty.Bars) > 0 {
		t.Errorf("%+v", empty)
	}
}

// A line has a gap where there is no value.
func TestLines(t *testing.T) {
	t.Parallel()
	c := hours(4, time.Minute).lines("x", "Time", []series{{"median", "ok", []float64{0.5, 1, math.NaN(), 0.25}}})
	if len(c.Lines) != 1 || len(c.Dots) != 3 || c.Rows[2][1] != "–" || c.Rows[1][1] != "1 s" {
		t.Fatalf("%+v", c)
	}
	moves := 0
	for _, r := range c.Lines[0].Path {
		if r == 'M' {
			moves++
		}
	}
	if moves != 2 {
		t.Errorf("path %s", c.Lines[0].Path)
	}
	if c := hours(2, time.Minute).lines("x", "Time", []series{{"median", "ok", none(2)}}); c.Empty == "" {
		t.Errorf("%+v", c)
	}
}

// The lines of the grid are at round times.
func TestNiceTime(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]float64{0.003: 0.005, 7: 10, 29: 50, 33: 60, 100: 120, 1000: 1200, 1900: 3600, 50000: 86400} {
		if got := niceTime(v); math.Abs(got-want) > 1e-9 {
			t.Errorf("%g: %g, want %g", v, got, want)
		}
	}
}

func TestSpan(t *testing.T) {
	t.Parallel()
	for want, d := range map[string]time.Duration{
		"0 s": 0, "under 1 ms": time.Microsecond, "340 ms": 340 * time.Millisecond, "1.5 s": 1500 * time.Millisecond, "12 s": 12 * time.Second,
		"4 min 5 s": 245 * time.Second, "12 min": 12*time.Minute + 5*time.Second, "2 h": 2 * time.Hour, "3 d 1 h": 73 * time.Hour,
	} {
		if got := span(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
	if got := count(1234567) + " " + count(-1000) + " " + count(7); got != "1\u202f234\u202f567 −1\u202f000 7" {
		t.Error(got)
	}
}
