package app

import (
	"regexp"
	"testing"
	"time"

	"lumin-ingest/internal/sample"
	"lumin-ingest/lumin"
)

// A lane that a failed run holds is in the metrics of a running program.
func TestHeldLaneMetrics(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	conn := connect(t, url)
	if _, err := conn.Exec(t.Context(), `INSERT INTO lumin_test.broken VALUES ('on purpose')`); err != nil {
		t.Fatal(err)
	}
	p := startProgram(t, serveEnv(url, "TEST_JOBS=ordered"), "serve")
	p.waitReady()
	shows := func(pattern string) {
		t.Helper()
		eventually(t, 60*time.Second, "/metrics shows "+pattern, func() bool {
			_, metrics := get(p.admin() + "/metrics")
			return regexp.MustCompile(`(?m)^` + pattern + `$`).MatchString(metrics)
		})
	}
	shows(`lumin_held_lanes\{kind="book_invoice"\} 0`)
	shows(`lumin_oldest_held_lane_age_seconds\{kind="book_invoice"\} 0`)
	deliverTo(t, p.public(), body(sample.Delivery{EventType: lumin.SignatureRequestApproved}))
	shows(`lumin_held_lanes\{kind="book_invoice"\} 1`)
	shows(`lumin_oldest_held_lane_age_seconds\{kind="book_invoice"\} [0-9.]*[1-9][0-9.]*`)
}
