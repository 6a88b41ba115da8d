package service

import (
	"encoding/json"
	"testing"
	"time"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/wait"
	"lumin-ingest/store/retention"
)

// The log line "started" names the version, the role, the job types, the
// resources, the queues and the retention.
func TestStartedLine(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	for role, want := range map[string]string{
		"all": `{"connections":32,"cpus":3,"job_types":["book_invoice","count_effects","signature_request_state"],"memory_limit":"none","queues":{"default":3},` +
			`"retain_events":"400d","retain_payloads":"36h0m0s","role":"all","version":"lumin-ingest (devel)"}`,
		"ingest": `{"connections":17,"cpus":3,"job_types":["book_invoice","count_effects","signature_request_state"],"memory_limit":"none","role":"ingest","version":"lumin-ingest (devel)"}`,
	} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			i := startService(t, url, func(cfg *Config) {
				cfg.Work = role != "ingest"
				cfg.CPUs = 3
				cfg.Queues = map[string]int{"default": 3}
				cfg.Retention = retention.Policy{Payloads: 36 * time.Hour, Events: 400 * 24 * time.Hour}
			})
			var line map[string]any
			wait.Within(t, 30*time.Second, "it has started", func() bool {
				line = i.log.First("started")
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
