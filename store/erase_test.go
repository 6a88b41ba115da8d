package store_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/replay"
)

// zyzzyva is the person to be forgotten. In whatever way the name is written in
// these tests, its last letters stay as they are.
const zyzzyva = "zzyva"

// dump is everything in a database, as pg_dump has it.
func dump(tb testing.TB, url string) []byte {
	tb.Helper()
	program, err := osexec.LookPath("pg_dump")
	if err != nil {
		installed, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pg_dump")
		if len(installed) == 0 {
			tb.Skip("pg_dump is not installed: erased data was NOT searched for in a dump")
		}
		program = installed[len(installed)-1]
	}
	var stderr bytes.Buffer
	cmd := osexec.CommandContext(tb.Context(), program, "--dbname", url)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		tb.Fatalf("pg_dump: %v\n%s", err, &stderr)
	}
	return out
}

// mentions counts in how many lines of a dump somebody is found, also in bytes,
// which are dumped in hex.
func mentions(dump []byte, who string) (lines int) {
	for line := range bytes.Lines(bytes.ToLower(dump)) {
		if bytes.Contains(line, []byte(who)) || bytes.Contains(line, []byte(hex.EncodeToString([]byte(who)))) ||
			bytes.Contains(line, []byte(hex.EncodeToString([]byte(strings.ToUpper(who))))) {
			lines++
		}
	}
	return lines
}

// eraseBy erases, and returns the finished erasure.
func eraseBy(tb testing.TB, s *store.Store, subject store.ErasureSubject) store.Erasure {
	tb.Helper()
	plan, err := s.PlanErasure(tb.Context(), subject)
	if err != nil {
		tb.Fatal(err)
	}
	return eraseAs(tb, s, plan)
}

func eraseAs(tb testing.TB, s *store.Store, plan store.ErasurePlan) store.Erasure {
	tb.Helper()
	id, err := s.OrderErasure(tb.Context(), plan, "asked for by zyzzyva@example.com", "tester")
	if err != nil {
		tb.Fatal(err)
	}
	e, err := s.Erase(tb.Context(), id)
	if err != nil {
		tb.Fatal(err)
	}
	if e.FinishedAt == nil {
		tb.Fatalf("not finished: %+v", e)
	}
	return e
}

// recorded are events of somebody in every place where one leaves traces.
type recorded struct {
	failing, waiting, worked, mentioned, other, unrecognized store.Delivery
	redelivered                                              store.Delivery // of failing, with another body
}

func recordZyzzyva(tb testing.TB, s *store.Store) recorded {
	tb.Helper()
	const detailsURL = "https://example.com/?token=1"
	r := recorded{
		failing:     variant(1, detailsURL, "for Zyzzyva@example.com", "book"),
		redelivered: variant(1, detailsURL, "for zyzzyva@example.com, once more", "book"),
		waiting:     variant(2, "https://example.com/?email=zyzzyva%40example.com", "title", "mail"),
		worked:      variant(3, detailsURL, "by ZYZZYVA@EXAMPLE.COM.", "book"),
		other:       variant(4, detailsURL, "for not.zyzzyv@example.com", "book"),
		unrecognized: store.Delivery{
			Source: "account", Payload: []byte(`{"a":"z\u0079zzyva\u0040example.com"`), Signature: make([]byte, 32), KeyID: "k", ReceivedAt: delivery(1).ReceivedAt,
		},
	}
	// The name alone, in an event of a request that mentions the address elsewhere.
	r.mentioned = variant(5, detailsURL, "Mr. Zyzzyva", "book")
	r.mentioned.Envelope.SignatureRequestID = r.worked.Envelope.SignatureRequestID
	recordAll(tb, s, r.failing)
	storetest.FailAll(tb, s)
	recordAll(tb, s, r.waiting, r.worked, r.other, r.mentioned, r.unrecognized, r.redelivered)
	if _, err := claim(tb, s, attempt(r.worked, "book", 0)); err != nil {
		tb.Fatal(err)
	}
	for _, sql := range []string{
		`UPDATE lumin.runs SET error = 'no account of Zyzzyva'  WHERE state <> 'succeeded'`,
		`UPDATE lumin.failures SET errors = ARRAY['{"error": "Zyzzyva"}'::jsonb]`,
		`UPDATE lumin.river_job SET errors = ARRAY['{"error": "Zyzzyva"}'::jsonb] WHERE args ->> 'event_key' IN (SELECT event_key::text FROM lumin.events WHERE signature_request_id <> 'request-4')`,
		`UPDATE lumin.runs SET error = 'as it was' WHERE event_id = (SELECT id FROM lumin.events WHERE signature_request_id = 'request-4')`,
		`INSERT INTO lumin.signature_requests (signature_request_id, title) VALUES ('request-3', 'Mr. Zyzzyva'), ('request-4', 'other'),
		 ('request-9', 'for Zyzzyva@example.com, whose bodies are gone')`,
	} {
		execute(tb, s, sql)
	}
	return r
}

func execute(tb testing.TB, s *store.Store, sql string) {
	tb.Helper()
	if _, err := s.Pool().Exec(tb.Context(), sql); err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
}

func TestErase(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := storeOn(t, pgtest.Pool(t, url))
	r := recordZyzzyva(t, s)
	before := mentions(dump(t, url), zyzzyva)
	if before < 10 {
		t.Fatalf("%d lines of the dump have the name before: the search is of no use", before)
	}
	e := eraseBy(t, s, store.ErasureSubject{Email: "zyzzyva@example.com"})
	want := store.Erased{Bodies: 5, Redeliveries: 1, Errors: 4, RunsCancelled: 3}
	if e.Erased != want || e.ErasedBy != "tester" || e.Subject != "email" || e.Reason != "asked for by [address]" {
		t.Errorf("erased %+v\nwant %+v", e, want)
	}
	if !slices.Equal(e.SignatureRequestIDs, []string{"request-1", "request-2", "request-3", "request-9"}) || len(e.EventIDs) != 1 {
		t.Errorf("erased of %q and %d", e.SignatureRequestIDs, e.EventIDs)
	}
	search := func(when string) {
		t.Helper()
		if n := mentions(dump(t, url), zyzzyva); n != 0 {
			t.Errorf("%s: %d lines of the dump have the name", when, n)
		}
	}
	search("after the erasure")
	wantState(t, s, r.failing, "book", "cancelled 0")
	wantState(t, s, r.waiting, "mail", "cancelled 0")
	wantState(t, s, r.worked, "book", "succeeded 0")
	wantState(t, s, r.mentioned, "book", "cancelled 0")
	wantState(t, s, r.other, "book", "pending 0")
	if n := value[int](t, s.Pool(), `SELECT count(*) FROM lumin.events WHERE payload IS NOT NULL`); n != 1 {
		t.Errorf("%d bodies are left, want that of the other", n)
	}
	if n := value[int](t, s.Pool(), `SELECT count(*) FROM lumin.signature_requests`); n != 1 {
		t.Errorf("%d signature requests are left, want the other", n)
	}

	// What comes once more is recognized, counted and not kept.
	again := recordAll(t, s, r.failing, r.redelivered, r.waiting, r.worked, r.mentioned, r.unrecognized)
	for _, receipt := range again {
		if receipt.Status != store.Duplicate {
			t.Errorf("once more: %+v", receipt)
		}
	}
	third := variant(1, "https://example.com/?token=3", "for zyzzyva@example.com, a third time", "book")
	recordAll(t, s, third)
	if n := value[int](t, s.Pool(), `SELECT sum(count)::int FROM lumin.redeliveries`); n != 8 {
		t.Errorf("%d redeliveries counted, want the one before and seven after", n)
	}
	// Another source tells the same for the first time.
	if receipts := recordAll(t, s, from("app:crm", r.failing), from("app:crm", third)); receipts[0].Status != store.Recorded || receipts[1].Status != store.Duplicate {
		t.Errorf("from another source: %+v", receipts)
	}
	search("after it came once more")
	if n := value[int](t, s.Pool(), `SELECT count(*) FROM lumin.river_job j JOIN lumin.events e ON e.event_key::text = j.args ->> 'event_key' WHERE e.payload IS NULL`); n != 0 {
		t.Errorf("%d jobs for what was erased", n)
	}

	// Nothing brings a run of it back, and there is nothing more to erase.
	for _, status := range []replay.Status{replay.Failed, replay.Cancelled, replay.Unrecognized} {
		if plan, err := replay.New(s).Plan(t.Context(), replay.Filter{Status: status}); err != nil || len(plan) != 0 {
			t.Errorf("replay of %s: %+v, %v", status, plan, err)
		}
	}
	for _, subject := range []store.ErasureSubject{{Email: "zyzzyva@example.com"}, {SignatureRequestIDs: []string{"request-1", "request-3"}}} {
		if plan, err := s.PlanErasure(t.Context(), subject); err != nil || !plan.Nothing() {
			t.Errorf("%+v: %+v, %v", subject, plan, err)
		}
	}
}

// What happens to the request afterwards is new.
func TestEraseLeavesWhatComesLater(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	early, late := delivery(1, "book"), delivery(2, "book")
	late.Envelope.SignatureRequestID = early.Envelope.SignatureRequestID
	recordAll(t, s, early)
	plan, err := s.PlanErasure(t.Context(), store.ErasureSubject{SignatureRequestIDs: []string{"request-1"}})
	if err != nil {
		t.Fatal(err)
	}
	recordAll(t, s, late)
	eraseAs(t, s, plan)
	wantState(t, s, early, "book", "cancelled 0")
	wantState(t, s, late, "book", "pending 0")
	if got := value[string](t, s.Pool(), `SELECT string_agg((payload IS NULL)::text, ' ' ORDER BY id) FROM lumin.events`); got != "true false" {
		t.Errorf("bodies gone: %s", got)
	}
}

// What a signature request was decoded from goes with it, and what is decoded from
// something that was found.
func TestEraseDecoded(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	odd := delivery(1)
	odd.Envelope = nil // as a version had it that could not decode it
	recordAll(t, s, odd)
	plan, err := s.PlanErasure(t.Context(), store.ErasureSubject{Email: "nobody@example.com"})
	if err != nil || !plan.Nothing() || plan.Events != 0 {
		t.Fatalf("%+v, %v", plan, err)
	}
	jobs := replay.Jobs{Route: func(string, lumin.EventType) []store.JobSpec { return specs("book") }}
	if n := allPages(t, s, storetest.Order(t, s, replay.Filter{Status: replay.Unrecognized}), jobs); n != 1 {
		t.Fatalf("%d decoded", n)
	}
	e := eraseBy(t, s, store.ErasureSubject{SignatureRequestIDs: []string{"request-1"}})
	if n := value[int](t, s.Pool(), `SELECT count(*) FROM lumin.events WHERE payload IS NOT NULL`); n != 0 || e.Bodies != 2 {
		t.Errorf("%d bodies are left, %+v", n, e)
	}
	wantState(t, s, delivery(1), "book", "cancelled 1")
}

// Whatever somebody holds is left, and nothing waits; the rest is erased.
func TestEraseHeld(t *testing.T) {
	t.Parallel()
	for what, lock := range map[string]string{
		"a run that is being worked on":  `SELECT FROM lumin.runs WHERE event_id = 1 FOR UPDATE`,
		"an event that retention is at":  `SELECT FROM lumin.events WHERE id = 1 FOR NO KEY UPDATE`,
		"a state that is being written":  `SELECT FROM lumin.signature_requests WHERE signature_request_id = 'request-1' FOR UPDATE`,
		"a job that is being fetched":    `SELECT FROM lumin.river_job WHERE args ->> 'event_key' = (SELECT event_key::text FROM lumin.events WHERE id = 1) FOR UPDATE`,
		"a redelivery that is counted":   `SELECT FROM lumin.redeliveries WHERE event_id = 1 FOR UPDATE`,
		"the failure of a run":           `SELECT FROM lumin.failures FOR UPDATE`,
		"nothing, but a job is at work ": `UPDATE lumin.river_job SET state = 'running' WHERE args ->> 'event_key' = (SELECT event_key::text FROM lumin.events WHERE id = 1)`,
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			recordAll(t, s, delivery(1, "book"))
			recordAll(t, s, delivery(2, "book"), variant(1, "https://example.com", "another"))
			execute(t, s, `INSERT INTO lumin.failures (event_key, job_kind, replay_id, state, attempts, errors)
				SELECT event_key, 'book', 0, 'failed', 1, ARRAY['{}'::jsonb] FROM lumin.events WHERE id = 1`)
			execute(t, s, `INSERT INTO lumin.signature_requests (signature_request_id) VALUES ('request-1'), ('request-2')`)
			tx := begin(t, s)
			if strings.HasPrefix(lock, "UPDATE") {
				execute(t, s, lock)
			} else {
				exec(t, tx, lock)
			}
			plan, err := s.PlanErasure(t.Context(), store.ErasureSubject{SignatureRequestIDs: []string{"request-1", "request-2"}})
			if err != nil {
				t.Fatal(err)
			}
			id, err := s.OrderErasure(t.Context(), plan, "test", "")
			if err != nil {
				t.Fatal(err)
			}
			e, err := s.Erase(t.Context(), id)
			if err != nil || e.FinishedAt != nil {
				t.Fatalf("%+v, %v", e, err)
			}
			if n := value[int](t, s.Pool(), `SELECT count(*) FROM lumin.events WHERE signature_request_id = 'request-2' AND payload IS NOT NULL`); n != 0 {
				t.Error("what nobody holds was left as well")
			}
			if err := tx.Rollback(t.Context()); err != nil {
				t.Fatal(err)
			}
			execute(t, s, `UPDATE lumin.river_job SET state = 'retryable', errors = ARRAY['{}'::jsonb] WHERE state = 'running'`)
			if e, err = s.Erase(t.Context(), id); err != nil || e.FinishedAt == nil {
				t.Fatalf("%+v, %v", e, err)
			}
			if n := value[int](t, s.Pool(), `SELECT count(*) FROM lumin.river_job`); n != 0 || e.Bodies != 2 || e.RunsCancelled != 2 || e.Redeliveries != 1 {
				t.Errorf("%d jobs are left, %+v", n, e)
			}
			// Once finished it stays so, also for events that came since.
			recordAll(t, s, from("app:crm", delivery(3)))
			if again, err := s.Erase(t.Context(), id); err != nil || again.Erased != e.Erased {
				t.Errorf("%+v, %v", again, err)
			}
		})
	}
}

// A recording that began before the erasure, and could not see it, brings nothing
// back.
func TestEraseWhileRecording(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := delivery(1, "book")
	recordAll(t, s, d)
	plan, err := s.PlanErasure(t.Context(), store.ErasureSubject{SignatureRequestIDs: []string{"request-1"}})
	if err != nil {
		t.Fatal(err)
	}
	id, err := s.OrderErasure(t.Context(), plan, "test", "")
	if err != nil {
		t.Fatal(err)
	}
	tx := begin(t, s)
	exec(t, tx, `
		INSERT INTO lumin.events (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at)
		SELECT event_key, 'app:crm', signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at FROM lumin.events`)
	done := make(chan error, 1)
	var e store.Erasure
	go func() {
		var err error
		e, err = s.Erase(context.WithoutCancel(t.Context()), id)
		done <- err
	}()
	eventually(t, "the first pass", func() bool {
		return value[int](t, s.Pool(), `SELECT count(*) FROM lumin.events WHERE payload IS NOT NULL`) == 0
	})
	select {
	case err := <-done:
		t.Fatalf("it did not wait for the recording: %v", err)
	case <-time.After(50 * time.Millisecond): // enough for one that does not wait
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || e.FinishedAt == nil || e.Bodies != 2 {
		t.Fatalf("%+v, %v", e, err)
	}
}

// A job that comes all the same finds nothing to work on.
func TestEraseTurnsJobsAway(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := delivery(1, "book")
	recordAll(t, s, d)
	eraseBy(t, s, store.ErasureSubject{SignatureRequestIDs: []string{"request-1"}})
	_, err := claim(t, s, attempt(d, "book", 0))
	wantError(t, err, store.ErrEventGone)
	_, err = s.ReadRun(t.Context(), attempt(d, "book", 0))
	wantError(t, err, store.ErrEventGone)
	wantState(t, s, d, "book", "cancelled 0")
}

func TestEraseRefused(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	recordAll(t, s, delivery(1))
	for what, subject := range map[string]store.ErasureSubject{
		"nothing":     {},
		"both":        {SignatureRequestIDs: []string{"request-1"}, Email: "a@example.com"},
		"an empty id": {SignatureRequestIDs: []string{""}},
		"a name":      {Email: "Zyzzyva"},
		"no domain":   {Email: "zyzzyva@"},
		"two at once": {Email: "a@example.com b@example.com"},
	} {
		if _, err := s.PlanErasure(t.Context(), subject); err == nil || strings.Contains(err.Error(), "yzzyva") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := s.PlanErasure(t.Context(), store.ErasureSubject{SignatureRequestIDs: []string{"request-1", "request-2"}}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("unknown: %v", err)
	}
}

// Ordered in SQL it is the same.
func TestEraseBySQL(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	odd := delivery(1)
	odd.Envelope, odd.Payload = nil, []byte(`{"id": "request-1"`)
	recordAll(t, s, delivery(1, "book"), delivery(2, "book"), odd)
	id := value[int64](t, s.Pool(), `SELECT lumin.erase('{request-1}', 'test')`)
	if ids, err := s.UnfinishedErasures(t.Context()); err != nil || !slices.Equal(ids, []int64{id}) {
		t.Fatalf("%d are unfinished, %v", ids, err)
	}
	e, err := s.Erase(t.Context(), id)
	if want := (store.Erased{Bodies: 2, RunsCancelled: 1}); err != nil || e.FinishedAt == nil || e.Erased != want || e.ErasedBy == "" {
		t.Errorf("%+v, %v", e, err)
	}
	wantState(t, s, delivery(2), "book", "pending 0")
}

// More signature requests than one transaction erases, by two at once.
func TestEraseMany(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	const n = 130
	for i := range n {
		recordAll(t, s, variant(i, "https://example.com", "a@example.com", "book"))
	}
	plan, err := s.PlanErasure(t.Context(), store.ErasureSubject{Email: "A@example.com"})
	if err != nil || plan.Bodies != n {
		t.Fatalf("%+v, %v", plan, err)
	}
	id, err := s.OrderErasure(t.Context(), plan, "test", "")
	if err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := s.Erase(context.WithoutCancel(t.Context()), id)
			errs <- err
		}()
	}
	if err := errors.Join(<-errs, <-errs); err != nil {
		t.Fatal(err)
	}
	e, err := s.Erasure(t.Context(), id)
	if err != nil || e.FinishedAt == nil || e.Bodies != n || e.RunsCancelled != n {
		t.Errorf("%+v, %v", e, err)
	}
}

// Archived files are marked for the program that has their bucket, and the erasure
// is finished once it has removed them.
func TestEraseArchivedFiles(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	mine, others := delivery(1, "book"), delivery(2, "book")
	recordAll(t, s, mine, others)
	for _, d := range []store.Delivery{mine, others} {
		exec(t, s.Pool(), `
			INSERT INTO lumin.archived_files (event_key, file_type, rerun, signature_request_id, bucket, object_key, sha256, size_bytes)
			VALUES ($1, 'agreement', 0, $2, 'mem://', 'k', sha256(''), 1)`, d.Key(), d.Envelope.SignatureRequestID)
	}
	plan, err := s.PlanErasure(t.Context(), store.ErasureSubject{SignatureRequestIDs: []string{"request-1"}})
	if err != nil || plan.Files != 1 {
		t.Fatalf("plan: %+v, %v", plan, err)
	}
	id, err := s.OrderErasure(t.Context(), plan, "test", "test")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		e, err := s.Erase(t.Context(), id)
		if err != nil || e.FinishedAt != nil || e.Files != 1 || e.FilesLeft != 1 || e.Bodies != 1 {
			t.Fatalf("with the file: %+v, %v", e, err)
		}
	}
	if n := value[int](t, s.Pool(), `SELECT count(*) FROM lumin.archived_files WHERE erasure_id = $1 AND signature_request_id = 'request-1'`, id); n != 1 {
		t.Errorf("%d files marked, want 1", n)
	}
	exec(t, s.Pool(), `DELETE FROM lumin.archived_files WHERE erasure_id = $1`, id)
	if e, err := s.Erase(t.Context(), id); err != nil || e.FinishedAt == nil || e.FilesLeft != 0 {
		t.Errorf("without the file: %+v, %v", e, err)
	}
	if n := value[int](t, s.Pool(), `SELECT count(*) FROM lumin.archived_files WHERE erasure_id IS NULL`); n != 1 {
		t.Error("the file of another signature request was marked")
	}
	// Retention leaves archived files alone, and they can be erased afterwards.
	exec(t, s.Pool(), `DELETE FROM lumin.events`)
	exec(t, s.Pool(), `DELETE FROM lumin.runs`)
	plan, err = s.PlanErasure(t.Context(), store.ErasureSubject{SignatureRequestIDs: []string{"request-2"}})
	if err != nil || plan.Files != 1 || plan.Nothing() {
		t.Fatalf("without the event: %+v, %v", plan, err)
	}
	if id, err = s.OrderErasure(t.Context(), plan, "test", "test"); err != nil {
		t.Fatal(err)
	}
	if e, err := s.Erase(t.Context(), id); err != nil || e.FilesLeft != 1 {
		t.Errorf("without the event: %+v, %v", e, err)
	}
}
