package api_test

import (
	"fmt"
	"strings"
	"testing"
)

// A list that has no pages says when it is not complete.
func TestCutLists(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.record(delivery(1, "greet"), delivery(2, "count"))
	r.fail()
	for limit, more := range map[int]bool{1: true, 2: false, 1000: false} {
		list := get[map[string]any](r, fmt.Sprintf("/failures?limit=%d", limit))
		if n := len(list["groups"].([]any)); n != min(limit, 2) || list["more"] != more {
			t.Errorf("%d groups of %d, more %v", n, limit, list["more"])
		}
	}
}

// Every operation with a limit has pages, or says when the list was cut.
func TestEveryListSaysWhetherItIsComplete(t *testing.T) {
	t.Parallel()
	doc := readDocument(newRig(t))
	lists := 0
	for path, operations := range doc.Paths {
		op := operations["get"]
		limited := false
		for _, p := range op.Parameters {
			limited = limited || p.Name == "limit"
		}
		if !limited || path == "/events/tail" {
			continue
		}
		lists++
		name := op.Responses["200"].Content["application/json"].Schema.Ref
		answer := doc.Components.Schemas[name[strings.LastIndex(name, "/")+1:]]
		if answer.Properties["next"].Description == "" && answer.Properties["more"].Description == "" {
			t.Errorf("%s has neither next nor more", path)
		}
	}
	if lists < 8 {
		t.Errorf("%d lists", lists)
	}
}
