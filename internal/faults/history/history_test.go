package history_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"lumin-ingest/internal/faults/history"
)

// op returns an operation from began to ended, in milliseconds. An end of 0 is
// open.
func op(began, ended int64, o history.Operation) history.Operation {
	o.Began, o.Ended = time.UnixMilli(began), time.UnixMilli(ended)
	if ended == 0 {
		o.Ended = history.Open
	}
	return o
}

func delivery(began, ended, id int64) history.Operation {
	return op(began, ended, history.Operation{Action: history.Deliver, ID: id})
}

func refused(began int64) history.Operation { return delivery(began, 0, history.Unknown) }

func order(began, ended int64) history.Operation {
	return op(began, ended, history.Operation{Action: history.Order})
}

// effect returns a claim from began to at, and its effect from at to ended.
func effect(rerun int, began, at, ended int64) history.History {
	return history.History{
		op(began, at, history.Operation{Action: history.Claim, Rerun: rerun}),
		op(at, ended, history.Operation{Action: history.Effect, Rerun: rerun}),
	}
}

func look(began, ended, id int64, effects int) history.Operation {
	return op(began, ended, history.Operation{Action: history.Look, Seen: history.View{IDs: [2]int64{id}, Effects: [3]int{effects}}})
}

// sum joins operations and histories.
func sum(parts ...any) (h history.History) {
	for _, part := range parts {
		switch part := part.(type) {
		case history.Operation:
			h = append(h, part)
		case history.History:
			h = append(h, part...)
		default:
			panic(fmt.Sprintf("%T", part))
		}
	}
	return h
}

func explained(t *testing.T, h history.History) bool {
	t.Helper()
	ok, err := h.Explained(10 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

func TestExplained(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]history.History{
		"nothing":                       nil,
		"never sent, not there":         sum(look(1, 2, 0, 0)),
		"recorded, seen":                sum(delivery(1, 2, 7), look(3, 4, 7, 0)),
		"seen while it is recorded":     sum(delivery(1, 9, 7), look(2, 3, 7, 0)),
		"not yet seen, still recording": sum(delivery(1, 9, 7), look(2, 3, 0, 0), look(4, 5, 7, 0)),
		"redelivered":                   sum(delivery(1, 2, 7), delivery(3, 4, 7)),
		"refused, not there":            sum(refused(1), look(3, 4, 0, 0)),
		"refused, there nevertheless":   sum(refused(1), look(3, 4, 7, 0), delivery(5, 6, 7)),
		"refused, there later":          sum(refused(1), look(3, 4, 0, 0), look(5, 6, 7, 0)),
		"effect while being recorded":   sum(delivery(1, 9, 7), effect(0, 2, 3, 5), look(10, 11, 7, 1)),
		"effect of a refused delivery":  sum(refused(1), effect(0, 2, 3, 5), look(10, 11, 7, 1)),
		"effect is seen early":          sum(delivery(1, 2, 7), effect(0, 3, 4, 20), look(5, 6, 7, 1), look(21, 22, 7, 1)),
		"effect is seen late":           sum(delivery(1, 2, 7), effect(0, 3, 4, 20), look(5, 6, 7, 0), look(21, 22, 7, 1)),
		"repeated":                      sum(delivery(1, 2, 7), effect(0, 3, 4, 20), order(5, 6), effect(1, 7, 8, 20), look(21, 22, 7, 2)),
		"repeated, the order unanswered": sum(delivery(1, 2, 7), effect(0, 3, 4, 20), order(5, 0), effect(1, 7, 8, 20),
			look(21, 22, 7, 2)),
		"ordered, not repeated": sum(delivery(1, 2, 7), effect(0, 3, 4, 20), order(5, 6), look(21, 22, 7, 1)),
	} {
		if !explained(t, h) {
			t.Errorf("%s: rejected\n%s", name, h)
		}
	}
}

func TestNotExplained(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]history.History{
		"lost":                          sum(delivery(1, 2, 7), look(3, 4, 0, 0)),
		"lost, after it was seen":       sum(refused(1), look(3, 4, 7, 0), look(5, 6, 0, 0)),
		"there without being sent":      sum(look(3, 4, 7, 0)),
		"there before being sent":       sum(look(1, 2, 7, 0), delivery(3, 4, 7)),
		"another id for a redelivery":   sum(delivery(1, 2, 7), delivery(3, 4, 8)),
		"another id for one at a time":  sum(delivery(1, 4, 7), delivery(2, 3, 8)),
		"another id is seen":            sum(delivery(1, 2, 7), look(3, 4, 8, 0)),
		"two rows":                      sum(delivery(1, 2, 7), look(3, 4, history.Several, 0)),
		"effect before being sent":      sum(effect(0, 1, 2, 9), delivery(3, 4, 7), look(10, 11, 7, 1)),
		"effect is lost":                sum(delivery(1, 2, 7), effect(0, 3, 4, 5), look(6, 7, 7, 0)),
		"effect is seen and gone":       sum(delivery(1, 2, 7), effect(0, 3, 4, 20), look(5, 6, 7, 1), look(7, 8, 7, 0)),
		"effect is seen before the tx":  sum(delivery(1, 2, 7), look(3, 4, 7, 1), effect(0, 5, 6, 20)),
		"effect twice":                  sum(delivery(1, 2, 7), effect(0, 3, 4, 20), effect(0, 5, 6, 20), look(21, 22, 7, 2)),
		"effect twice at the same time": sum(delivery(1, 2, 7), effect(0, 3, 9, 20), effect(0, 3, 9, 20), look(21, 22, 7, 2)),
		"repeated without an order":     sum(delivery(1, 2, 7), effect(0, 3, 4, 20), effect(1, 7, 8, 20), look(21, 22, 7, 2)),
		"repeated before the order":     sum(delivery(1, 2, 7), effect(0, 3, 4, 20), effect(1, 7, 8, 20), order(9, 10), look(21, 22, 7, 2)),
		"repeated twice for one order": sum(delivery(1, 2, 7), effect(0, 3, 4, 20), order(5, 6), effect(1, 7, 8, 20),
			effect(2, 9, 10, 20), look(21, 22, 7, 3)),
		"repeated before the effect": sum(delivery(1, 2, 7), order(3, 4), effect(1, 5, 6, 20), effect(0, 7, 8, 20), look(21, 22, 7, 2)),
	} {
		if explained(t, h) {
			t.Errorf("%s: accepted\n%s", name, h)
		}
	}
}

// Sources and job types do not depend on each other.
func TestSourcesAndKinds(t *testing.T) {
	t.Parallel()
	other := delivery(3, 4, 8)
	other.Source = 1
	second := effect(0, 5, 6, 20)
	for i := range second {
		second[i].Kind = 1
	}
	final := op(21, 22, history.Operation{Action: history.Look, Seen: history.View{IDs: [2]int64{7, 8}, Effects: [3]int{1, 1}}})
	h := sum(delivery(1, 2, 7), other, effect(0, 3, 4, 20), second, final)
	if !explained(t, h) {
		t.Errorf("rejected\n%s", h)
	}
	h[len(h)-1].Seen.IDs = [2]int64{8, 7}
	if explained(t, h) {
		t.Errorf("accepted, with the ids of the sources exchanged\n%s", h)
	}
}

// The search stays fast when many operations have no end.
func TestManyOpenOperations(t *testing.T) {
	t.Parallel()
	h := sum(refused(1), effect(0, 3, 4, 2000))
	for n := range int64(100) {
		h = append(h, order(10+n, 0))
	}
	for n := range int64(200) {
		h = append(h, look(100+n, 101+n, 7, 1))
	}
	start := time.Now()
	if !explained(t, h) {
		t.Error("rejected")
	}
	h[len(h)-1].Seen.Effects[0] = 2
	if explained(t, h) {
		t.Error("accepted, with an effect too many")
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestFalsify(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]history.History{
		"simple":   sum(delivery(1, 5, 7), effect(0, 10, 15, 20), look(30, 35, 7, 1)),
		"refused":  sum(refused(1), delivery(3, 5, 7), effect(0, 10, 15, 29), look(30, 35, 7, 1)),
		"repeated": sum(delivery(1, 5, 7), effect(0, 10, 15, 29), order(17, 18), effect(1, 20, 25, 29), look(30, 35, 7, 2)),
	} {
		if !h.Complete() || !explained(t, h) {
			t.Errorf("%s: not complete, or rejected", name)
		}
		count, err := history.Falsify(h)
		if err != nil || count < 10 {
			t.Errorf("%s: %d falsifications, %v", name, count, err)
		}
	}
	if _, err := history.Falsify(sum(delivery(1, 5, 7), look(30, 35, 7, 0))); err == nil {
		t.Error("a history without an effect cannot be falsified in every way, but was")
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	histories := map[int]history.History{}
	for n := range 100 {
		histories[n] = sum(delivery(1, 2, 7), look(3, 4, 7, 0))
	}
	histories[3][1].Seen.IDs[0] = 0
	histories[50] = sum(delivery(1, 2, 7), delivery(3, 4, 7), look(5, 6, 8, 0))
	result, err := history.Check(t.Context(), histories)
	slices.Sort(result.Unexplained)
	if err != nil || !slices.Equal(result.Unexplained, []int{3, 50}) || result.Events != 100 || result.Operations != 201 || result.Most != 3 {
		t.Errorf("%+v, %v", result, err)
	}
	if text := histories[50].String(); !strings.Contains(text, "0.004000 to 0.005000: look: ids [8 0]") {
		t.Errorf("described as\n%s", text)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if result, err := history.Check(ctx, maps.Clone(histories)); !errors.Is(err, context.Canceled) || result.Events > 0 {
		t.Errorf("after the end of its context: %+v, %v", result, err)
	}
}
