package erasure_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/store/erasure"
	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/replay"
)

// eraseBy plans an erasure and carries it out completely.
func eraseBy(tb testing.TB, s *store.Store, subject erasure.Subject) erasure.Order {
	tb.Helper()
	plan, err := erasure.NewPlan(tb.Context(), s.Pool(), subject)
	if err != nil {
		tb.Fatal(err)
	}
	return eraseAs(tb, s, plan)
}

func eraseAs(tb testing.TB, s *store.Store, plan erasure.Plan) erasure.Order {
	tb.Helper()
	id, err := plan.Order(tb.Context(), s.Pool(), "asked for by zyzzyva@example.com", "tester")
	if err != nil {
		tb.Fatal(err)
	}
	e, err := erasure.CarryOut(tb.Context(), s.Pool(), id)
	if err != nil {
		tb.Fatal(err)
	}
	if e.FinishedAt == nil {
		tb.Fatalf("not finished: %+v", e)
	}
	return e
}

// Events that are recorded after the plan stay, unless they were received long before.
func TestEraseKeepsLaterEvents(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	early, late := storetest.Delivery(1, "book"), storetest.Delivery(2, "book")
	late.Envelope.SignatureRequestID = early.Envelope.SignatureRequestID
	storetest.Record(t, s, early)
	plan, err := erasure.NewPlan(t.Context(), s.Pool(), erasure.Subject{SignatureRequestIDs: []string{"request-1"}})
	if err != nil {
		t.Fatal(err)
	}
	storetest.Record(t, s, late)
	old := storetest.Delivery(3) // as if it had been imported
	old.Envelope.SignatureRequestID, old.ReceivedAt = early.Envelope.SignatureRequestID, early.ReceivedAt.Add(-2*time.Hour)
	storetest.Record(t, s, old)
	eraseAs(t, s, plan)
	storetest.WantState(t, s, early, "book", "cancelled 0")
	storetest.WantState(t, s, late, "book", "pending 0")
	if got := storetest.Value[string](t, s.Pool(), `SELECT string_agg((payload IS NULL)::text, ' ' ORDER BY id) FROM lumin.events`); got != "true false true" {
		t.Errorf("bodies gone: %s", got)
	}
}

// The unrecognized event from which an event was decoded is erased with it, and
// the other way around.
func TestEraseDecoded(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	odd := storetest.Delivery(1)
	odd.Envelope = nil // recorded by a version that could not decode it
	storetest.Record(t, s, odd)
	plan, err := erasure.NewPlan(t.Context(), s.Pool(), erasure.Subject{Email: "unknown@example.com"})
	if err != nil || !plan.Empty() || plan.Events != 0 {
		t.Fatalf("%+v, %v", plan, err)
	}
	jobs := replay.Jobs{Route: func(string, lumin.EventType) []store.JobSpec { return storetest.Specs("book") }}
	if n := storetest.CarryOut(t, s, storetest.Order(t, s, replay.Filter{Status: replay.Unrecognized}), jobs, 2); n != 1 {
		t.Fatalf("%d decoded", n)
	}
	e := eraseBy(t, s, erasure.Subject{SignatureRequestIDs: []string{"request-1"}})
	if n := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.events WHERE payload IS NOT NULL`); n != 0 || e.Bodies != 2 {
		t.Errorf("%d bodies remain, %+v", n, e)
	}
	storetest.WantState(t, s, storetest.Delivery(1), "book", "cancelled 1")
}

// Locked rows and rows of running jobs are skipped. Everything else is erased
// without waiting.
func TestEraseSkipsLockedRows(t *testing.T) {
	t.Parallel()
	for what, lock := range map[string]string{
		"a run that is being worked on":    `SELECT FROM lumin.runs WHERE event_id = 1 FOR UPDATE`,
		"an event that retention works on": `SELECT FROM lumin.events WHERE id = 1 FOR NO KEY UPDATE`,
		"a state that is being written":    `SELECT FROM lumin.signature_requests WHERE signature_request_id = 'request-1' FOR UPDATE`,
		"a job that is being fetched":      `SELECT FROM lumin.river_job WHERE args ->> 'event_key' = (SELECT event_key::text FROM lumin.events WHERE id = 1) FOR UPDATE`,
		"a redelivery that is counted":     `SELECT FROM lumin.redeliveries WHERE event_id = 1 FOR UPDATE`,
		"the failure of a run":             `SELECT FROM lumin.failures FOR UPDATE`,
		"nothing, but a job is running ":   `UPDATE lumin.river_job SET state = 'running' WHERE args ->> 'event_key' = (SELECT event_key::text FROM lumin.events WHERE id = 1)`,
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := storetest.New(t)
			storetest.Record(t, s, storetest.Delivery(1, "book"))
			storetest.Record(t, s, storetest.Delivery(2, "book"), storetest.Variant(1, "https://example.com", "another"))
			storetest.Exec(t, s.Pool(), `INSERT INTO lumin.failures (event_key, job_kind, replay_id, state, attempts, errors)
				SELECT event_key, 'book', 0, 'failed', 1, ARRAY['{}'::jsonb] FROM lumin.events WHERE id = 1`)
			storetest.Exec(t, s.Pool(), `INSERT INTO lumin.signature_requests (signature_request_id) VALUES ('request-1'), ('request-2')`)
			tx := storetest.Begin(t, s)
			if strings.HasPrefix(lock, "UPDATE") {
				storetest.Exec(t, s.Pool(), lock)
			} else {
				storetest.Exec(t, tx, lock)
			}
			plan, err := erasure.NewPlan(t.Context(), s.Pool(), erasure.Subject{SignatureRequestIDs: []string{"request-1", "request-2"}})
			if err != nil {
				t.Fatal(err)
			}
			id, err := plan.Order(t.Context(), s.Pool(), "test", "")
			if err != nil {
				t.Fatal(err)
			}
			e, err := erasure.CarryOut(t.Context(), s.Pool(), id)
			if err != nil || e.FinishedAt != nil {
				t.Fatalf("%+v, %v", e, err)
			}
			if n := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.events WHERE signature_request_id = 'request-2' AND payload IS NOT NULL`); n != 0 {
				t.Error("rows without a lock were skipped too")
			}
			if err := tx.Rollback(t.Context()); err != nil {
				t.Fatal(err)
			}
			storetest.Exec(t, s.Pool(), `UPDATE lumin.river_job SET state = 'retryable', errors = ARRAY['{}'::jsonb] WHERE state = 'running'`)
			if e, err = erasure.CarryOut(t.Context(), s.Pool(), id); err != nil || e.FinishedAt == nil {
				t.Fatalf("%+v, %v", e, err)
			}
			if n := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.river_job`); n != 0 || e.Bodies != 2 || e.RunsCancelled != 2 || e.Redeliveries != 1 {
				t.Errorf("%d jobs remain, %+v", n, e)
			}
			// A finished order stays finished, even if events were recorded
			// since.
			storetest.Record(t, s, storetest.From("app:crm", storetest.Delivery(3)))
			if again, err := erasure.CarryOut(t.Context(), s.Pool(), id); err != nil || again.Counts != e.Counts {
				t.Errorf("%+v, %v", again, err)
			}
		})
	}
}

// A recording that began before the erasure, and could not see it, does not
// store the content again.
func TestEraseWhileRecording(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	d := storetest.Delivery(1, "book")
	storetest.Record(t, s, d)
	plan, err := erasure.NewPlan(t.Context(), s.Pool(), erasure.Subject{SignatureRequestIDs: []string{"request-1"}})
	if err != nil {
		t.Fatal(err)
	}
	id, err := plan.Order(t.Context(), s.Pool(), "test", "")
	if err != nil {
		t.Fatal(err)
	}
	tx := storetest.Begin(t, s)
	storetest.Exec(t, tx, `
		INSERT INTO lumin.events (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at)
		SELECT event_key, 'app:crm', signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at FROM lumin.events`)
	done := make(chan error, 1)
	var e erasure.Order
	go func() {
		var err error
		e, err = erasure.CarryOut(context.WithoutCancel(t.Context()), s.Pool(), id)
		done <- err
	}()
	storetest.Eventually(t, "the first pass", func() bool {
		return storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.events WHERE payload IS NOT NULL`) == 0
	})
	select {
	case err := <-done:
		t.Fatalf("it did not wait for the recording: %v", err)
	case <-time.After(50 * time.Millisecond): // a CarryOut that does not wait would have ended
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || e.FinishedAt == nil || e.Bodies != 2 {
		t.Fatalf("%+v, %v", e, err)
	}
}

// An erasure finds jobs that neither runs nor failures name: those of a program
// of the version before this one, and jobs that succeeded before a replay.
func TestEraseJobsUnknownToRuns(t *testing.T) {
	t.Parallel()
	for what, sql := range map[string]string{
		"nothing more":               ``,
		"a job of an older program":  `UPDATE lumin.runs SET job_id = NULL WHERE event_id = 1`,
		"a job from before a replay": `UPDATE lumin.runs SET job_id = 4711, replay_id = 1 WHERE event_id = 1`,
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := storetest.New(t)
			storetest.Record(t, s, storetest.Delivery(1, "book"), storetest.Delivery(2, "book"))
			if sql != "" {
				storetest.Exec(t, s.Pool(), sql)
			}
			eraseBy(t, s, erasure.Subject{SignatureRequestIDs: []string{"request-1"}})
			if left := storetest.Value[string](t, s.Pool(), `SELECT string_agg(j.args ->> 'event_key', ' ') FROM lumin.river_job j`); left != storetest.Key(storetest.Delivery(2)).String() {
				t.Errorf("jobs of %q are left", left)
			}
		})
	}
}

// A run may have the id of a foreign job, as after a restore without River's
// tables. An erasure leaves that job.
func TestEraseLeavesForeignJob(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Record(t, s, storetest.Delivery(1, "book"), storetest.Delivery(2, "book"))
	storetest.Exec(t, s.Pool(), `UPDATE lumin.runs SET job_id = (SELECT job_id FROM lumin.runs WHERE event_id = 2)`)
	eraseBy(t, s, erasure.Subject{SignatureRequestIDs: []string{"request-1"}})
	if n := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.river_job j JOIN lumin.runs r ON r.job_id = j.id WHERE r.event_id = 2`); n != 1 {
		t.Error("the job of another event was erased")
	}
}

// A job of an erased event cannot claim its run.
func TestEraseStopsJobs(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	d := storetest.Delivery(1, "book")
	storetest.Record(t, s, d)
	eraseBy(t, s, erasure.Subject{SignatureRequestIDs: []string{"request-1"}})
	err := storetest.Succeed(t, s, d, "book")
	if !errors.Is(err, store.ErrEventGone) {
		t.Errorf("%v", err)
	}
	_, err = s.ReadRun(t.Context(), storetest.Attempt(d, "book"))
	if !errors.Is(err, store.ErrEventGone) {
		t.Errorf("%v", err)
	}
	storetest.WantState(t, s, d, "book", "cancelled 0")
}

// An erasure can be ordered in SQL.
func TestEraseBySQL(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	odd := storetest.Delivery(1)
	odd.Envelope, odd.Payload = nil, []byte(`{"id": "request-1"`)
	storetest.Record(t, s, storetest.Delivery(1, "book"), storetest.Delivery(2, "book"), odd)
	id := storetest.Value[int64](t, s.Pool(), `SELECT lumin.erase('{request-1}', 'test')`)
	if ids, err := erasure.Unfinished(t.Context(), s.Pool()); err != nil || !slices.Equal(ids, []int64{id}) {
		t.Fatalf("%d are unfinished, %v", ids, err)
	}
	e, err := erasure.CarryOut(t.Context(), s.Pool(), id)
	if want := (erasure.Counts{Bodies: 2, RunsCancelled: 1}); err != nil || e.FinishedAt == nil || e.Counts != want || e.ErasedBy == "" {
		t.Errorf("%+v, %v", e, err)
	}
	storetest.WantState(t, s, storetest.Delivery(2), "book", "pending 0")
}

// Two calls at once erase more signature requests than fit in one transaction.
func TestEraseMany(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	const n = 130
	for i := range n {
		storetest.Record(t, s, storetest.Variant(i, "https://example.com", "a@example.com", "book"))
	}
	plan, err := erasure.NewPlan(t.Context(), s.Pool(), erasure.Subject{Email: "A@example.com"})
	if err != nil || plan.Bodies != n {
		t.Fatalf("%+v, %v", plan, err)
	}
	id, err := plan.Order(t.Context(), s.Pool(), "test", "")
	if err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := erasure.CarryOut(context.WithoutCancel(t.Context()), s.Pool(), id)
			errs <- err
		}()
	}
	if err := errors.Join(<-errs, <-errs); err != nil {
		t.Fatal(err)
	}
	e, err := erasure.Load(t.Context(), s.Pool(), id)
	if err != nil || e.FinishedAt == nil || e.Bodies != n || e.RunsCancelled != n {
		t.Errorf("%+v, %v", e, err)
	}
}

// Archived files are marked for the program that has their bucket. The erasure
// is finished once their rows are removed.
func TestEraseArchivedFiles(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	mine, others := storetest.Delivery(1, "book"), storetest.Delivery(2, "book")
	storetest.Record(t, s, mine, others)
	for _, d := range []store.Delivery{mine, others} {
		storetest.Exec(t, s.Pool(), `
			INSERT INTO lumin.archived_files (event_key, file_type, rerun, signature_request_id, bucket, object_key, sha256, size_bytes)
			VALUES ($1, 'agreement', 0, $2, 'mem://', 'k', sha256(''), 1)`, [16]byte(storetest.Key(d)), d.Envelope.SignatureRequestID)
	}
	plan, err := erasure.NewPlan(t.Context(), s.Pool(), erasure.Subject{SignatureRequestIDs: []string{"request-1"}})
	if err != nil || plan.Files != 1 {
		t.Fatalf("plan: %+v, %v", plan, err)
	}
	id, err := plan.Order(t.Context(), s.Pool(), "test", "test")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		e, err := erasure.CarryOut(t.Context(), s.Pool(), id)
		if err != nil || e.FinishedAt != nil || e.Files != 1 || e.FilesLeft != 1 || e.Bodies != 1 {
			t.Fatalf("with the file: %+v, %v", e, err)
		}
	}
	if n := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.archived_files WHERE erasure_id = $1 AND signature_request_id = 'request-1'`, id); n != 1 {
		t.Errorf("%d files marked, want 1", n)
	}
	storetest.Exec(t, s.Pool(), `DELETE FROM lumin.archived_files WHERE erasure_id = $1`, id)
	if e, err := erasure.CarryOut(t.Context(), s.Pool(), id); err != nil || e.FinishedAt == nil || e.FilesLeft != 0 {
		t.Errorf("without the file: %+v, %v", e, err)
	}
	if n := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.archived_files WHERE erasure_id IS NULL`); n != 1 {
		t.Error("the file of another signature request was marked")
	}
	// Retention leaves archived files alone, and they can be erased afterwards.
	storetest.Exec(t, s.Pool(), `DELETE FROM lumin.events`)
	storetest.Exec(t, s.Pool(), `DELETE FROM lumin.runs`)
	plan, err = erasure.NewPlan(t.Context(), s.Pool(), erasure.Subject{SignatureRequestIDs: []string{"request-2"}})
	if err != nil || plan.Files != 1 || plan.Empty() {
		t.Fatalf("without the event: %+v, %v", plan, err)
	}
	if id, err = plan.Order(t.Context(), s.Pool(), "test", "test"); err != nil {
		t.Fatal(err)
	}
	if e, err := erasure.CarryOut(t.Context(), s.Pool(), id); err != nil || e.FilesLeft != 1 {
		t.Errorf("without the event: %+v, %v", e, err)
	}
}
