package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"lumin-ingest/worker"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Each log line about a failed attempt identifies the event, even if no job
// type was called.
func TestFailuresIdentifyTheirEvent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	tx := newTxJob("tx_fails", func(context.Context, pgx.Tx, int) error { return errNo })
	plain := newPlainJob("plain_fails", func(context.Context, *worker.Event, int) error { return errNo })
	slow := &hasty{newPlainJob("slow_fails", func(ctx context.Context, _ *worker.Event, call int) error {
		if call == 1 {
			return fmt.Errorf("ask the other side: %w", context.DeadlineExceeded)
		}
		<-ctx.Done()
		if call == 2 {
			return ctx.Err()
		}
		return errors.New("no answer")
	})}
	r.start(tx, plain, slow)
	key := r.record(1, tx, plain, slow)
	r.waitQuiet()

	id := r.count(`SELECT id FROM lumin.events`)
	var request string
	if err := r.pool.QueryRow(r.ctx, `SELECT signature_request_id FROM lumin.events`).Scan(&request); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`"event_id":%d,"event_key":"%s","signature_request_id":"%s"`, id, key, request)
	lines := map[string]int{}
	for line := range strings.Lines(r.logs.String()) {
		var entry struct{ Msg, Kind string }
		if json.Unmarshal([]byte(line), &entry) != nil || !strings.HasSuffix(entry.Msg, "attempt failed") {
			continue
		}
		lines[entry.Kind]++
		if !strings.Contains(line, want) {
			t.Errorf("%s lacks %s", line, want)
		}
	}
	if fmt.Sprint(lines) != "map[plain_fails:3 slow_fails:3 tx_fails:2]" {
		t.Errorf("lines about failed attempts: %v", lines)
	}

	// Each error shows whose timeout it was.
	checkTexts(t, "errors", r.run("slow_fails", key).JobErrors, []string{
		"ask the other side: took longer than a timeout of its own",
		"took longer than its timeout of 1 s",
		"took longer than its timeout of 1 s: no answer",
	})

	r.exec(`DELETE FROM lumin.events`)
	r.exec(`UPDATE lumin.runs SET state = 'pending', finished_at = NULL WHERE job_kind = 'tx_fails'`)
	r.exec(`UPDATE lumin.river_job SET state = 'available', finalized_at = NULL, attempt = 0 WHERE kind = 'tx_fails'`)
	r.wait("the cancellation of a job without event", func() bool {
		return strings.Contains(r.logs.String(), `"job cancelled","kind":"tx_fails"`)
	})
	if line := `"job cancelled","kind":"tx_fails"`; !strings.Contains(r.logs.String()[strings.Index(r.logs.String(), line):], `"event_key":"`+key.String()+`"`) {
		t.Error("the line about the cancelled job does not identify the event")
	}
}

// While a run waits for its next attempt, it shows the error of the last one.
func TestPendingRunShowsError(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	job := newTxJob("waits", func(context.Context, pgx.Tx, int) error { return errNo })
	job.backoff = func(int) time.Duration { return time.Hour }
	r.start(job)
	key := r.record(1, job)
	r.wait("the first attempt", func() bool { return r.run("waits", key).JobState == "retryable" })
	if got := r.run("waits", key); got.State != "pending" || got.Attempts != 1 || got.Error != "no" {
		t.Errorf("%+v", got)
	}
}
