package app

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/sample"
	"lumin-ingest/internal/service"
	"lumin-ingest/lumin"
	"lumin-ingest/worker"
)

// stuckJob works until it is released and ignores its context.
type stuckJob struct {
	worker.Defaults
	entered *atomic.Int32
	release chan struct{}
}

func newStuckJob() stuckJob { return stuckJob{entered: &atomic.Int32{}, release: make(chan struct{})} }

func (stuckJob) Kind() string              { return "stuck" }
func (stuckJob) Queue() string             { return "slow" }
func (stuckJob) Timeout() time.Duration    { return 100 * time.Millisecond }
func (stuckJob) Events() []lumin.EventType { return []lumin.EventType{lumin.SignatureRequestDeclined} }

func (j stuckJob) WorkTx(context.Context, pgx.Tx, *worker.Event) error {
	j.entered.Add(1)
	<-j.release
	return nil
}

// deliverDeclined delivers events for stuckJob until it holds this many
// workers.
func deliverDeclined(t *testing.T, url string, job stuckJob, workers int) {
	t.Helper()
	for range workers {
		b := body(sample.Delivery{EventType: lumin.SignatureRequestDeclined})
		mustPost(t, url, b, lumin.Sign(b, sample.AccountKey))
	}
	eventually(t, 20*time.Second, "the workers are held", func() bool { return int(job.entered.Load()) >= workers })
}

// If jobs that ignore their timeout hold every worker, /readyz, /metrics and
// doctor show it. The program still receives and stops.
func TestStuckWorkers(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	db := connect(t, url)
	job := newStuckJob()
	i := startInstance(t, url, func(cfg *service.Config) {
		cfg.Queues = map[string]int{"slow": 2}
		cfg.Registry.AddTx(job)
	})
	i.waitReady(t)
	if _, body := i.ready(); strings.Contains(body, "warnings") {
		t.Errorf("a warning without a reason: %s", body)
	}
	deliverDeclined(t, i.accountURL(), job, 2)

	const want = "queue slow: all of its workers (2) are held by jobs that ignore their timeout (stuck: 2)"
	eventually(t, 30*time.Second, "/readyz has a warning", func() bool {
		status, body := i.ready()
		return status == http.StatusOK && strings.Contains(body, `"warnings":["`+want+`"]`)
	})
	_, metrics := get("http://" + i.AdminAddr() + "/metrics")
	for _, line := range []string{
		`lumin_workers{queue="slow"} 2`, `lumin_workers_busy{queue="slow"} 2`, `lumin_jobs_overdue{kind="stuck",queue="slow"} 2`,
		`lumin_jobs_overdue{kind="count_effects",queue="default"} 0`,
	} {
		if !strings.Contains(metrics, "\n"+line+"\n") {
			t.Errorf("no %s in /metrics", line)
		}
	}
	eventually(t, 30*time.Second, "doctor finds it", func() bool { // with the next heartbeat
		findings, err := examineDatabase(t.Context(), url)
		return err == nil && strings.Contains(fmt.Sprint(findings), want)
	})

	start := time.Now()
	if err := i.stop(); err != nil {
		t.Errorf("it stopped with %v", err)
	}
	// 13 s for the jobs and 2 s for their connections, and 10 s more.
	if took := time.Since(start); took > 25*time.Second {
		t.Errorf("the stop took %s", took)
	}
	if log := i.log.String(); !strings.Contains(log, `"kinds":["stuck"]`) || !strings.Contains(log, `"msg":"stopped"`) {
		t.Error("the log does not name the abandoned jobs")
	}
	wantNumber(t, db, 2, `SELECT count(*) FROM lumin.runs WHERE job_kind = 'stuck' AND state = 'pending'`)
	wantNumber(t, db, 2, `SELECT count(*) FROM lumin.river_job WHERE kind = 'stuck' AND state NOT IN ('completed', 'discarded', 'cancelled')`)
	close(job.release)
}

// A program that only works is not ready while all of its workers are held.
func TestStuckWorkersOfAWorker(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	job := newStuckJob()
	i := startInstance(t, url, func(cfg *service.Config) {
		cfg.Ingest, cfg.Queues = false, map[string]int{"slow": 1}
		cfg.Registry.AddTx(job)
	})
	receiver := startInstance(t, url, func(cfg *service.Config) {
		cfg.Work = false
		cfg.Registry.AddTx(job)
	})
	receiver.waitReady(t)
	i.waitReady(t)
	deliverDeclined(t, receiver.accountURL(), job, 1)
	eventually(t, 30*time.Second, "it is not ready", func() bool {
		status, body := i.ready()
		return status == http.StatusServiceUnavailable && strings.Contains(body, "queue slow: all of its workers (1) are held")
	})
	receiver.waitReady(t)
	close(job.release)
	i.waitReady(t)
}
