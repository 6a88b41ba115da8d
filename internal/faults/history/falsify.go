package history

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Falsify changes a history that can be explained in many ways, each of which
// means that something was lost, doubled or done too early. It returns their
// number, and an error unless each is noticed. The history must be [Complete].
func Falsify(h History) (int, error) {
	if !h.Complete() {
		return 0, errors.New("falsify a history: it is not complete")
	}
	var errs []error
	for _, f := range falsifications {
		falsified := slices.Clone(h)
		f.change(&falsified)
		explained, err := falsified.Explained(eventBound)
		if explained {
			err = errors.New("not noticed")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("falsified a history: %s: %w\n%s", f.what, err, falsified))
		}
	}
	return len(falsifications), errors.Join(errs...)
}

// Complete reports whether a history has an acknowledged delivery and an effect,
// and ends in a look after both.
func (h History) Complete() bool {
	acknowledged, effect := h.acknowledged(), h.last(Effect)
	if acknowledged < 0 || effect < 0 || h[len(h)-1].Action != Look {
		return false
	}
	final := h[len(h)-1].Began
	return final.After(h[acknowledged].Ended) && final.After(h[effect].Ended)
}

// acknowledged returns the index of the first delivery that was answered 200.
func (h History) acknowledged() int {
	return slices.IndexFunc(h, func(o Operation) bool { return o.Action == Deliver && o.ID != Unknown })
}

// last returns the index of the last operation of an action.
func (h History) last(a Action) int {
	for i := len(h) - 1; i >= 0; i-- {
		if h[i].Action == a {
			return i
		}
	}
	return -1
}

// beginning returns the time of the earliest operation.
func (h History) beginning() time.Time {
	return slices.MinFunc(h, func(a, b Operation) int { return a.Began.Compare(b.Began) }).Began
}

// at sets the time of an operation.
func (o Operation) at(began, ended time.Time) Operation {
	o.Began, o.Ended = began, ended
	return o
}

// again returns the claim and the effect of a further repetition of the last
// effect, before the last look, which sees it.
func (h History) again() (claim, effect Operation) {
	final := &h[len(h)-1]
	effect = h[h.last(Effect)]
	effect.Rerun++
	final.Seen.Effects[effect.Kind]++
	claim = effect
	claim.Action, claim.Ended = Claim, final.Began
	return claim, effect
}

//nolint:gochecknoglobals // a table
var falsifications = []struct {
	what   string
	change func(*History)
}{
	{"an acknowledged event is not seen any more", func(h *History) {
		o := (*h)[h.acknowledged()]
		(*h)[len(*h)-1].Seen.IDs[o.Source] = 0
	}},
	{"an acknowledged event is not seen right after its answer, but later", func(h *History) {
		o := (*h)[h.acknowledged()]
		*h = append(*h, Operation{Action: Look}.at(o.Ended.Add(1), o.Ended.Add(2)))
	}},
	{"an event is seen under another id", func(h *History) {
		o := (*h)[h.acknowledged()]
		(*h)[len(*h)-1].Seen.IDs[o.Source]++
	}},
	{"an event is seen twice", func(h *History) {
		o := (*h)[h.acknowledged()]
		(*h)[len(*h)-1].Seen.IDs[o.Source] = Several
	}},
	{"a redelivery is answered with another id", func(h *History) {
		o := (*h)[h.acknowledged()]
		o.ID++
		*h = append(*h, o.at(o.Ended.Add(1), Open))
	}},
	{"an event is seen before it was sent", func(h *History) {
		seen, start := (*h)[len(*h)-1], h.beginning()
		seen.Seen.Effects = [3]int{}
		*h = append(*h, seen.at(start.Add(-2), start.Add(-1)))
	}},
	{"an effect is not seen any more", func(h *History) {
		(*h)[len(*h)-1].Seen.Effects[(*h)[h.last(Effect)].Kind]--
	}},
	{"an effect is seen that did not happen", func(h *History) {
		(*h)[len(*h)-1].Seen.Effects[(*h)[h.last(Effect)].Kind]++
	}},
	{"an effect is seen, and later not", func(h *History) {
		again := (*h)[len(*h)-1]
		again.Seen.Effects[(*h)[h.last(Effect)].Kind]--
		*h = append(*h, again.at(again.Ended.Add(1), again.Ended.Add(2)))
	}},
	{"an event took effect before it was sent", func(h *History) {
		start := h.beginning()
		for i, o := range *h {
			if o.Action == Claim {
				(*h)[i] = o.at(start.Add(-2), start.Add(-1))
			}
		}
	}},
	{"an effect took place twice", func(h *History) {
		claim, effect := h.again()
		claim.Rerun--
		effect.Rerun--
		*h = append(*h, claim, effect)
	}},
	{"an effect was repeated without an order", func(h *History) {
		claim, effect := h.again()
		*h = slices.DeleteFunc(append(*h, claim, effect), func(o Operation) bool { return o.Action == Order })
	}},
	{"an effect was repeated before the order", func(h *History) {
		claim, effect := h.again()
		*h = slices.DeleteFunc(append(*h, claim, effect), func(o Operation) bool { return o.Action == Order })
		for range claim.Rerun {
			*h = append(*h, Operation{Action: Order}.at(claim.Ended.Add(1), Open))
		}
	}},
	{"a repetition was claimed before the effect that it repeats", func(h *History) {
		claim, effect := h.again()
		start := h.beginning()
		for range claim.Rerun {
			*h = append(*h, Operation{Action: Order}.at(start, start))
		}
		claim.Began, claim.Ended = effect.Began.Add(-2), effect.Began.Add(-1)
		*h = append(*h, claim, effect)
	}},
	{"an effect has no claim", func(h *History) {
		*h = slices.Delete(*h, h.last(Claim), h.last(Claim)+1)
	}},
}
