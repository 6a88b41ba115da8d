package replay

import (
	"reflect"
	"testing"
)

// Pages of an ordered job type are taken one after another: two at once could
// commit the later events of a signature request first.
func TestPagers(t *testing.T) {
	t.Parallel()
	ordered := Jobs{Ordered: []string{"book"}}
	for name, c := range map[string]struct {
		filter Filter
		jobs   Jobs
		limit  int
		want   int
	}{
		"all kinds":                    {Filter{Status: Failed}, Jobs{}, pageRuns, 2},
		"all kinds, one is ordered":    {Filter{Status: Failed}, ordered, pageRuns, 1},
		"the ordered kind":             {Filter{Status: Failed, Kinds: []string{"late", "book"}}, ordered, pageRuns, 1},
		"another kind":                 {Filter{Status: Failed, Kinds: []string{"late"}}, ordered, pageRuns, 2},
		"with a rate":                  {Filter{Status: Failed}, Jobs{}, 100, 1},
		"runs whose jobs are retrying": {Filter{Status: Retrying}, Jobs{}, pageRuns, 1},
	} {
		if got := pagers(c.filter, c.jobs, c.limit); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// Pages that are taken at once start together, and the next ones start where the first
// of them ended. What any of them has left counts. A new pass begins anew.
func TestMerge(t *testing.T) {
	t.Parallel()
	at := func(key byte, left ...string) Position { return Position{key: [16]byte{key}, found: true, left: left} }
	for name, c := range map[string]struct {
		first, second Page
		want          Page
	}{
		"within a pass": {
			Page{Enqueued: 2, Next: at(5, "book")}, Page{Enqueued: 1, Next: at(3, "book", "a")},
			Page{Enqueued: 3, Next: at(3, "a", "book")},
		},
		"a replay was cancelled between their beginnings": {
			Page{Next: Position{begun: true, restored: 7}}, Page{Next: Position{begun: true, restored: 5, started: true}},
			Page{Next: Position{begun: true, restored: 5, started: true}},
		},
		"the second has ended the pass": {
			Page{Enqueued: 2, Next: at(5, "book")}, Page{Wait: true, ended: true},
			Page{Enqueued: 2, ended: true},
		},
		"both have ended the pass": {
			Page{Wait: true, ended: true}, Page{Wait: true, ended: true},
			Page{Wait: true, ended: true},
		},
	} {
		if got := merge([]Page{c.first, c.second}); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
