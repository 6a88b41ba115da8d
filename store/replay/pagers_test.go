package replay

import "testing"

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
