//go:build unix

package faults

import (
	"fmt"
	"slices"
	"time"
)

// unmeasured stands for a time that a scenario does not measure.
const unmeasured = time.Duration(-1)

// Outcome is the result of a scenario.
type Outcome struct {
	ID    string  `json:"id"`
	Name  string  `json:"name"`
	Size  string  `json:"size"` // at the full scale
	Seed  uint64  `json:"seed"`
	Scale float64 `json:"scale"`

	Events     int `json:"events"` // acknowledged deliveries
	Attempts   int `json:"attempts"`
	Faults     int `json:"faults"`
	Effects    int `json:"effects"`
	Lost       int `json:"lost"` // acknowledged deliveries that are not stored; if Loses, after each fault
	Doubled    int `json:"doubled"`
	Violations int `json:"violations"`
	Damages    int `json:"damages"` // falsifications that were noticed

	Loses bool `json:"loses,omitempty"` // losses are expected, so they are no problem, and the invariants are not checked

	First200   *Spread   `json:"first_200,omitempty"`   // after the end of a fault
	LastEffect *Spread   `json:"last_effect,omitempty"` // after the last fault of a burst: all earlier work is done
	Measures   []Measure `json:"measures,omitempty"`
	Lasted     float64   `json:"lasted_s"`

	Problems []string `json:"problems,omitempty"`
}

// Spread are the median and the worst of some times, in seconds.
type Spread struct {
	N      int     `json:"n"`
	Median float64 `json:"median_s"`
	Worst  float64 `json:"worst_s"`
	Bound  float64 `json:"bound_s"`
}

// Measure is a figure besides the common ones.
type Measure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit,omitempty"`
	Bound string  `json:"bound,omitempty"` // such as ≤ 1; empty for a mere figure
}

// Passed reports whether all bounds and invariants held.
func (o *Outcome) Passed() bool { return len(o.Problems) == 0 }

// figure adds a mere figure.
func (o *Outcome) figure(name string, value float64, unit string) {
	o.Measures = append(o.Measures, Measure{Name: name, Value: value, Unit: unit})
}

// atMost adds a figure with a bound.
func (s *scene) atMost(name string, value, bound float64, unit string) {
	s.out.Measures = append(s.out.Measures, Measure{Name: name, Value: value, Unit: unit, Bound: fmt.Sprintf("≤ %.4g", bound)})
	if value > bound {
		s.problem("%s is %.4g %s, more than %.4g", name, value, unit, bound)
	}
}

// atLeast adds a figure with a lower bound.
func (s *scene) atLeast(name string, value, bound float64) {
	s.out.Measures = append(s.out.Measures, Measure{Name: name, Value: value, Bound: fmt.Sprintf("≥ %.4g", bound)})
	if value < bound {
		s.problem("%s is %.4g, less than %.4g", name, value, bound)
	}
}

// finish fills in the outcome from the result of the run.
func (s *scene) finish(result *Result) {
	o := s.out
	if s.ledger == nil { // the run did not start
		o.Problems = append(o.Problems, "the run did not start")
		return
	}
	o.Events, o.Attempts = result.Counts.Acknowledged, result.Counts.Attempts
	o.Faults, o.Effects, o.Lost, o.Doubled, o.Damages = len(s.rows)+s.more, result.Effects, result.Lost, result.Doubled, result.Damages
	if s.cfg.loses {
		o.Loses, o.Lost = true, s.lost
	}
	for _, v := range result.Violations {
		o.Violations += v.Count
		o.Problems = append(o.Problems, v.String())
	}
	s.failures(result)
	o.Lasted = result.Lasted.Seconds()
	o.First200 = s.spread("the first 200", s.scenario.first200, func(row *Row) time.Duration {
		at, found := s.ledger.firstAck(row.ended)
		if row.ended.IsZero() || !found {
			return never
		}
		return at.Sub(row.ended)
	})
	o.LastEffect = s.spread("the last effect", s.scenario.lastEffect, (*Row).lastEffect)
	s.worst("every program ready", s.scenario.working, func(row *Row) time.Duration { return row.Ready })
	s.finishHits()
	o.Problems = append(o.Problems, s.allProblems()...)
	if o.Events == 0 || o.Faults == 0 {
		o.Problems = append(o.Problems, "too few events happened to prove anything")
	}
}

// failures adds how often runs failed for good. The run replays them, so that I6
// holds in the end. If the job types do not fail by chance, no run may fail.
func (s *scene) failures(result *Result) {
	if s.cfg.loses { // not counted
		return
	}
	s.out.figure("runs failed for good with an error of their job type", float64(result.FailedByDesign), "")
	const name = "runs failed for good with another error"
	if slices.Contains(s.scenario.setup.env, SteadyVariable+"=1") {
		s.atMost(name, float64(result.FailedOtherwise), 0, "")
	} else {
		s.out.figure(name, float64(result.FailedOtherwise), "")
	}
}

// spread summarizes a time of all faults. It returns nil if it was not
// measured.
func (s *scene) spread(what string, bound time.Duration, of func(*Row) time.Duration) *Spread {
	if bound == 0 {
		bound = usualBound
	}
	var all []time.Duration
	for _, row := range s.rows {
		took := of(row)
		if took == unmeasured {
			continue
		}
		all = append(all, took)
		if took > bound {
			s.problem("%s: %s took %s, more than %s", row.Fault, what, short(took), bound)
		}
	}
	if len(all) == 0 {
		return nil
	}
	slices.Sort(all)
	return &Spread{N: len(all), Median: seconds(median(all)), Worst: seconds(all[len(all)-1]), Bound: bound.Seconds()}
}

// seconds returns a time in seconds, rounded to milliseconds.
func seconds(d time.Duration) float64 {
	return float64(d.Round(time.Millisecond).Milliseconds()) / 1000
}

// median returns the middle of sorted values.
func median[T any](sorted []T) T { return sorted[len(sorted)/2] }

// spreadOf returns the median and the largest of some values.
func spreadOf(values []float64) (middle, worst float64) {
	sorted := slices.Sorted(slices.Values(values))
	return median(sorted), sorted[len(sorted)-1]
}
