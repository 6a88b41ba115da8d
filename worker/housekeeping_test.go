package worker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/worker"
)

// lastSuccess returns when a task last succeeded, according to the metric.
func lastSuccess(t *testing.T, metrics *prometheus.Registry, task string) float64 {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "lumin_housekeeping_last_success_timestamp_seconds" {
			continue
		}
		for _, metric := range family.GetMetric() {
			if metric.GetLabel()[0].GetValue() == task {
				return metric.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("no metric of the task %s", task)
	return 0
}

// While a sweep hangs, others of the program leave the work to it. They are no
// success.
func TestJobLeftToAnother(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	release := pgtest.Hold(t, r.url, `LOCK TABLE lumin.replays`)
	heard, metrics := &ended{}, prometheus.NewRegistry()
	r.startConfig(worker.Config{Ended: heard.add, Registerer: metrics}.Quick(200*time.Millisecond), newPlainJob("book", nil))
	r.wait("the sweep hangs", func() bool {
		return r.count(`SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'lumin.replays'::regclass`) == 1
	})
	before := lastSuccess(t, metrics, "sweep")
	r.exec(`INSERT INTO lumin.river_job (args, kind, queue, max_attempts) VALUES ('{}', 'lumin_sweep', $1, 1)`, worker.PeriodicQueue)
	r.wait("the next sweep ends", func() bool {
		return r.count(`SELECT count(*) FROM lumin.river_job WHERE kind = 'lumin_sweep' AND state = 'completed' AND metadata ? 'left_to_another'`) == 1
	})
	if got := heard.outcomes("lumin_sweep"); got != "1 turned_away" {
		t.Errorf("the outcomes are %s", got)
	}
	if lastSuccess(t, metrics, "sweep") != before {
		t.Error("the metric takes it for a success")
	}
	release()
	r.wait("the first sweep succeeds", func() bool { return strings.Contains(heard.outcomes("lumin_sweep"), "1 succeeded") })
	if lastSuccess(t, metrics, "sweep") == before {
		t.Error("the metric does not show the success")
	}
}
