package history

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// Action is the kind of an operation.
type Action int

// The actions.
const (
	Deliver Action = iota // a delivery and its answer
	Order                 // a replay order that repeats runs that succeeded
	Claim                 // a transaction of a job type saw the event and its run
	Effect                // the same transaction was committed
	Look                  // an onlooker read the state of the event
)

// Operation is one thing that happened to an event, at some moment from Began
// to Ended.
type Operation struct {
	Action       Action
	Began, Ended time.Time

	Source int   // of a delivery: 0 or 1
	ID     int64 // of a delivery: the event that a 200 names, or else Unknown
	Kind   int   // of a claim and an effect: the job type, 0 to 2
	Rerun  int   // of a claim and an effect: 0, or which repetition
	Seen   View  // by a look
}

// View is what a look sees of an event.
type View struct {
	IDs     [2]int64 // by source; 0: the event is not stored
	Effects [3]int   // by job type: their number
}

// Ids that are not ids of events.
const (
	Unknown = -1 // of an event that may be stored
	Several = -2 // seen by a look that found more than one row of a source
)

// Open is the end of an operation that may still happen.
var Open = time.Unix(0, math.MaxInt64) //nolint:gochecknoglobals // a constant

// History holds the operations on one event, in any order.
type History []Operation

// state is the state of an event between two operations.
type state struct {
	View
	claims [3]int // by job type
	orders int
}

// next returns the state after an operation, and whether the operation is
// possible in state s.
func (s state) next(o *Operation) (state, bool) {
	switch o.Action {
	case Deliver:
		stored := &s.IDs[o.Source]
		possible := *stored <= 0 || o.ID == Unknown || *stored == o.ID
		if *stored <= 0 {
			*stored = o.ID
		}
		return s, possible
	case Order:
		s.orders++
		return s, true
	case Claim:
		possible := s.IDs != [2]int64{} && s.orders >= o.Rerun && s.Effects[o.Kind] == o.Rerun
		s.claims[o.Kind]++
		return s, possible
	case Effect:
		possible := s.claims[o.Kind] == o.Rerun+1 && s.Effects[o.Kind] == o.Rerun
		s.Effects[o.Kind]++
		return s, possible
	default:
		for i, id := range s.IDs {
			if id == Unknown && o.Seen.IDs[i] > 0 {
				s.IDs[i] = o.Seen.IDs[i]
			}
		}
		return s, s.View == o.Seen
	}
}

// Explained reports whether there is an order of the operations in which each
// is possible, and in which none precedes another that had ended before it
// began. It returns an error if the search takes longer than within.
func (h History) Explained(within time.Duration) (bool, error) {
	operations := make([]porcupine.Operation, len(h))
	for i := range h {
		operations[i] = porcupine.Operation{ClientId: i, Input: &h[i], Call: h[i].Began.UnixNano(), Return: h[i].Ended.UnixNano()}
		if h[i].Action == Order {
			// An order only makes more possible, so the earliest moment explains
			// most. That leaves one moment to try instead of many.
			operations[i].Return = operations[i].Call
		}
	}
	result := porcupine.CheckOperationsTimeout(porcupine.Model{
		Init: func() any { return state{} },
		Step: func(s, input, _ any) (bool, any) {
			next, possible := s.(state).next(input.(*Operation)) //nolint:forcetypeassert // from Init and from above
			return possible, next
		},
	}, operations, within)
	if result == porcupine.Unknown {
		return false, fmt.Errorf("no decision on %d operations within %s", len(h), within)
	}
	return result == porcupine.Ok, nil
}

// String lists the operations, with their times in seconds since the first one.
func (h History) String() string {
	sorted := slices.SortedStableFunc(slices.Values(h), func(a, b Operation) int {
		return cmp.Or(a.Began.Compare(b.Began), a.Ended.Compare(b.Ended))
	})
	var text strings.Builder
	for _, o := range sorted {
		ended := "open"
		if o.Ended.Before(Open) {
			ended = fmt.Sprintf("%.6f", o.Ended.Sub(sorted[0].Began).Seconds())
		}
		fmt.Fprintf(&text, "    %.6f to %s: %s\n", o.Began.Sub(sorted[0].Began).Seconds(), ended, o)
	}
	return text.String()
}

// String describes an operation without its times.
func (o Operation) String() string {
	switch o.Action {
	case Deliver:
		if o.ID == Unknown {
			return fmt.Sprintf("delivery from source %d without a 200", o.Source)
		}
		return fmt.Sprintf("delivery from source %d, answered 200 with id %d", o.Source, o.ID)
	case Order:
		return "order to repeat"
	case Claim:
		return fmt.Sprintf("claim by job type %d, repetition %d", o.Kind, o.Rerun)
	case Effect:
		return fmt.Sprintf("effect of job type %d, repetition %d", o.Kind, o.Rerun)
	default:
		return fmt.Sprintf("look: ids %v, effects %v", o.Seen.IDs, o.Seen.Effects)
	}
}
