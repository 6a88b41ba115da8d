package app

import (
	"testing"

	"lumin-ingest/store/catalog"
)

func TestVersionsOf(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		versions []string
		want     string
	}{
		{nil, ""},
		{[]string{"", ""}, ""},
		{[]string{"p v2", "p v2"}, "; p v2"},
		{[]string{"p v2", "p v1", "p v2"}, "; 1 of p v1, 2 of p v2"},
		{[]string{"p v2", "", ""}, "; 1 of p v2, 2 of an older version"},
	} {
		var programs []catalog.Program
		for _, v := range test.versions {
			programs = append(programs, catalog.Program{Version: v})
		}
		if got := versionsOf(programs); got != test.want {
			t.Errorf("%q: %q, want %q", test.versions, got, test.want)
		}
	}
}
