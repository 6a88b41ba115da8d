package app

import (
	"encoding/json"
	"testing"
	"time"

	"lumin-ingest/store/catalog"
	"lumin-ingest/store/retention"
)

// The line "started" says what the program is and does.
func TestStartedLine(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	for role, want := range map[string]string{
		"all": `{"job_types":["book_invoice","count_effects","signature_request_state"],"queues":{"default":3},` +
			`"retain_events":"400d","retain_payloads":"36h0m0s","role":"all","version":"lumin-ingest (devel)"}`,
		"ingest": `{"job_types":["book_invoice","count_effects","signature_request_state"],"role":"ingest","version":"lumin-ingest (devel)"}`,
	} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			i := startInstance(t, url, func(cfg *serviceConfig) {
				cfg.work = role != "ingest"
				cfg.queues = map[string]int{"default": 3}
				cfg.retention = retention.Policy{Payloads: 36 * time.Hour, Events: 400 * 24 * time.Hour}
			})
			var line map[string]any
			eventually(t, 30*time.Second, "it has started", func() bool {
				line = i.log.logged("started")
				return line != nil
			})
			for _, common := range []string{"time", "level", "msg"} {
				delete(line, common)
			}
			if got, err := json.Marshal(line); err != nil || string(got) != want {
				t.Errorf("%s, %v, want %s", got, err, want)
			}
		})
	}
}

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
