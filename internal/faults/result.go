//go:build unix

package faults

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// never stands for an event that did not happen.
const never = time.Duration(math.MaxInt64)

// Row is one fault and its consequences. Times are measured from the end of the
// fault.
type Row struct {
	Fault      string        `json:"fault"`
	What       string        `json:"what"`
	At         time.Duration `json:"at_ns"`          // since the start of the run
	Lasted     time.Duration `json:"lasted_ns"`      // the fault itself
	FirstAck   time.Duration `json:"first_200_ns"`   // of a delivery that was sent after the end
	LastEffect time.Duration `json:"last_effect_ns"` // until all deliveries sent before the end were acknowledged and processed
	Ready      time.Duration `json:"ready_ns"`       // until /readyz of every program answered 200
	Bound      time.Duration `json:"bound_ns"`       // for these three times, from the end of the last fault of a burst

	// hits are the programs that a fault of a scenario has hit. The times are those of
	// the slowest of them: until it answered 200 to a delivery that was sent after the
	// end, and until it worked a job in a transaction that began after the end.
	hits              []*program
	hitAck, hitEffect time.Duration

	ended    time.Time
	burstEnd time.Time // the end of the last fault of its burst; zero: its own
}

// lastEffect is LastEffect, from the end of the last fault of the burst.
func (row *Row) lastEffect() time.Duration {
	if row.LastEffect == never || row.LastEffect == unmeasured || row.burstEnd.IsZero() {
		return row.LastEffect
	}
	return max(0, row.LastEffect-row.burstEnd.Sub(row.ended))
}

// Result is the result of a run.
type Result struct {
	Seed    uint64        `json:"seed"`
	Faults  string        `json:"faults"` // the names from which faults were drawn
	Lasted  time.Duration `json:"lasted_ns"`
	Counts  Counts        `json:"counts"`
	Replays int           `json:"replays"` // orders placed during the run
	Events  int           `json:"events"`  // rows in the database
	Effects int           `json:"effects"`
	Lost    int           `json:"lost"`    // acknowledged events that are not stored
	Doubled int           `json:"doubled"` // effects that took place twice
	Damages int           `json:"damages"` // falsifications that were noticed; 0 if there were violations

	// How often a run failed for good, until everything was settled: with an error
	// that its job type returns on purpose, and with another one.
	FailedByDesign  int `json:"failed_by_design"`
	FailedOtherwise int `json:"failed_otherwise"`

	Histories  Histories   `json:"histories"`
	Violations []Violation `json:"violations"`
	Problems   []string    `json:"problems"`
	Rows       []Row       `json:"rows"`
}

// Histories says how many histories were checked.
type Histories struct {
	Events     int           `json:"events"`
	Operations int           `json:"operations"`
	Most       int           `json:"most_operations"` // of one event
	Longest    time.Duration `json:"longest_ns"`      // search for the order of one event
	Took       time.Duration `json:"took_ns"`         // all searches together, on all cores
	Falsified  int           `json:"falsified"`       // ways in which one was falsified and rejected
}

// Err returns an error unless all invariants and bounds were kept.
func (r *Result) Err() error {
	var errs []error
	for _, v := range r.Violations {
		errs = append(errs, errors.New(v.String()))
	}
	for _, problem := range r.Problems {
		errs = append(errs, errors.New(problem))
	}
	if r.Counts.Acknowledged == 0 || r.Histories.Operations == 0 || len(r.Rows) == 0 {
		errs = append(errs, errors.New("too few events happened to prove anything"))
	}
	return errors.Join(errs...)
}

// Markdown returns the result as a table with one row per fault.
func (r *Result) Markdown() string {
	var text strings.Builder
	fmt.Fprintf(&text, "Seed %d, %s: %d faults, %d attempts at %d deliveries, %d acknowledged, %d of them again; %d replay orders.\n",
		r.Seed, r.Lasted, len(r.Rows), r.Counts.Attempts, r.Counts.Deliveries, r.Counts.Acknowledged, r.Counts.Redelivered, r.Replays)
	fmt.Fprintf(&text, "%d events and %d effects are stored; %d lost, %d doubled, %d invariants violated. %d of %d falsifications noticed.\n",
		r.Events, r.Effects, r.Lost, r.Doubled, len(r.Violations), r.Damages, len(damages))
	fmt.Fprintf(&text, "Runs failed for good %d times with an error of their job type and %d times with another one.\n", r.FailedByDesign, r.FailedOtherwise)
	fmt.Fprintf(&text, "The histories of %d events have %d operations, at most %d of one event; the search took %s, the longest for one event %s. %d falsifications noticed.\n",
		r.Histories.Events, r.Histories.Operations, r.Histories.Most,
		r.Histories.Took.Round(time.Millisecond), r.Histories.Longest.Round(time.Microsecond), r.Histories.Falsified)
	text.WriteString(r.bound() + "\n\n")
	text.WriteString("| at | fault | lasted | first 200 | last effect | ready |\n|---:|---|---:|---:|---:|---:|\n")
	var worst Row
	for _, row := range r.Rows {
		fmt.Fprintf(&text, "| %s | %s: %s | %s | %s | %s | %s |\n", row.At.Round(time.Second), row.Fault, row.What,
			short(row.Lasted), short(row.FirstAck), short(row.LastEffect), short(row.Ready))
		worst.FirstAck = max(worst.FirstAck, row.FirstAck)
		worst.LastEffect = max(worst.LastEffect, row.LastEffect)
		worst.Ready = max(worst.Ready, row.Ready)
	}
	fmt.Fprintf(&text, "| | **worst** | | %s | %s | %s |\n", short(worst.FirstAck), short(worst.LastEffect), short(worst.Ready))
	return text.String()
}

// bound describes what the absence of failures proves. Without a failure in n
// trials, the failure rate is below 3/n with 95 % confidence (the rule of
// three).
func (r *Result) bound() string {
	if r.Counts.Acknowledged == 0 || r.Lost+r.Doubled+len(r.Violations) > 0 {
		return "No bound can be given."
	}
	return fmt.Sprintf("No failure in %d acknowledged deliveries: their rate is below %.1e at 95 %%.",
		r.Counts.Acknowledged, 3/float64(r.Counts.Acknowledged))
}

// JSON returns the whole result.
func (r *Result) JSON() ([]byte, error) { return json.MarshalIndent(r, "", "  ") }

// short formats a time in seconds for a table.
func short(d time.Duration) string {
	if d == never {
		return "never"
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
