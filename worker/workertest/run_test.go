package workertest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"lumin-ingest/lumin"
	"lumin-ingest/worker"
	"lumin-ingest/worker/workertest"
)

func TestRunSucceeds(t *testing.T) {
	t.Parallel()
	db := workertest.NewDatabase(t, effectsTable)
	job := inserts()
	start := time.Now()
	result := db.Run(t, job, workertest.Event{Source: "app:crm", Title: "Lease <b>"})
	t.Logf("took %s", time.Since(start))
	workertest.Succeeded(t, result)
	if result.Calls != 1 || result.Attempts != 1 || len(result.Errors) > 0 || len(result.Snoozes) > 0 || count(t, db)() != 1 {
		t.Errorf("%+v, %d effects", result, count(t, db)())
	}
	e := result.Event
	request, err := lumin.DecodeSignatureRequest(e.Payload)
	if err != nil || *request.Title != "Lease <b>" || e.Source != "app:crm" || e.JobKind != "tx_job" || e.SignatureRequestID == "" {
		t.Errorf("%v, %+v", err, e)
	}
	if lumin.Sign(e.Payload, "my_primary_api_key") != fmt.Sprintf("%x", e.Signature) {
		t.Error("not signed")
	}
	// Run another event in the same database.
	workertest.Succeeded(t, db.Run(t, job, workertest.Event{SignatureRequestID: "another"}))
	if n := count(t, db)(); n != 2 {
		t.Errorf("%d effects", n)
	}
}

// Ten attempts, which take three hours in production, do not wait in a test.
func TestRunFails(t *testing.T) {
	t.Parallel()
	db := workertest.NewDatabase(t, effectsTable)
	job := &txJob{work: func(ctx context.Context, tx pgx.Tx, e *worker.Event, _ int) error {
		return errors.Join(insert(ctx, tx, e), errNo)
	}}
	start := time.Now()
	result := db.Run(t, job, workertest.Event{})
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("the attempts took %s", took)
	}
	workertest.Failed(t, result, "no, says [address]")
	if result.Calls != 10 || result.Attempts != 10 || len(result.Errors) != 10 || count(t, db)() != 0 {
		t.Errorf("%+v, %d effects", result, count(t, db)())
	}
}

func TestRunEnds(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		work     func(call int) error
		state    string
		attempts int
		calls    int
		error    string
		snoozes  []time.Duration
	}{
		{"tried again", func(call int) error {
			if call == 1 {
				return errNo
			}
			return nil
		}, "succeeded", 2, 2, "no, says", nil},
		{"given up", func(int) error { return worker.JobFail(errNo) }, "failed", 1, 1, "no, says", nil},
		{"cancelled", func(int) error { return river.JobCancel(errNo) }, "cancelled", 1, 1, "no, says", nil},
		{"a panic", func(int) error { panic("oh") }, "failed", 3, 3, "panic: oh", nil},
		{"put off", func(call int) error {
			if call <= 2 {
				return fmt.Errorf("so: %w", river.JobSnooze(time.Duration(call)*time.Hour))
			}
			return nil
		}, "succeeded", 1, 3, "", []time.Duration{time.Hour, 2 * time.Hour}},
		{"put off for ever", hour, "pending", 0, 10, "", slices.Repeat([]time.Duration{time.Hour}, 10)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			db := workertest.NewDatabase(t)
			result := db.Run(t, &plainJob{work: func(_ context.Context, _ *worker.Event, call int) error { return test.work(call) }},
				workertest.Event{Type: "signature_request_sent"})
			if result.State != test.state || result.Attempts != test.attempts || result.Calls != test.calls ||
				!strings.Contains(strings.Join(result.Errors, "\n"), test.error) || !slices.Equal(result.Snoozes, test.snoozes) {
				t.Errorf("%+v", result)
			}
		})
	}
}

func TestAssertions(t *testing.T) {
	t.Parallel()
	for want, test := range map[string]func(testing.TB){
		`the run is failed after 3 attempts, want succeeded; errors: ["a" "b"]`: func(t testing.TB) {
			workertest.Succeeded(t, workertest.Result{State: "failed", Attempts: 3, Errors: []string{"a", "b"}})
		},
		`the run is succeeded after 1 attempts, want failed; errors: []`: func(t testing.TB) {
			workertest.Failed(t, workertest.Result{State: "succeeded", Attempts: 1}, "")
		},
		`the run is failed with error "b", want an error that contains "a"`: func(t testing.TB) {
			workertest.Failed(t, workertest.Result{State: "failed", Errors: []string{"a", "b"}}, "a")
		},
		`the run is cancelled with error "", want an error that contains "a"`: func(t testing.TB) {
			workertest.Cancelled(t, workertest.Result{State: "cancelled"}, "a")
		},
		"": func(t testing.TB) {
			workertest.Failed(t, workertest.Result{State: "failed", Errors: []string{"b"}}, "b")
		},
	} {
		if got := failures(t, test); got != want {
			t.Errorf("said %q, want %q", got, want)
		}
	}
}

// After a crash, the code is called again with the same idempotency key.
func TestRunCrashes(t *testing.T) {
	t.Parallel()
	db := workertest.NewDatabase(t, effectsTable)
	workertest.Succeeded(t, db.Run(t, inserts(), workertest.Event{}))
	result := db.Run(t, inserts(), workertest.Event{Title: "another", SignatureRequestID: "2"}, workertest.Crash(2))
	workertest.Succeeded(t, result)
	if result.Calls != 3 || result.Attempts != 3 || len(result.Errors) != 2 || count(t, db)() != 2 {
		t.Errorf("%+v, %d effects", result, count(t, db)())
	}
	outside := workertest.NewOutside(t)
	// A job type with a single attempt must get another one after a crash.
	plain := onlyOnce{&plainJob{work: func(ctx context.Context, e *worker.Event, _ int) error {
		return post(ctx, outside.URL, e.IdempotencyKey())
	}}}
	result = db.Run(t, plain, workertest.Event{Type: "x", SignatureRequestID: "3"}, workertest.Crash(1))
	workertest.Succeeded(t, result)
	if outside.Requests() != 2 || len(outside.Effects()) != 1 {
		t.Errorf("%d requests, effects %v", outside.Requests(), outside.Effects())
	}
}

type onlyOnce struct{ *plainJob }

func (onlyOnce) MaxAttempts() int { return 1 }

func TestFollowUps(t *testing.T) {
	t.Parallel()
	db := workertest.NewDatabase(t)
	decide := &txJob{work: func(ctx context.Context, tx pgx.Tx, _ *worker.Event, call int) error {
		client := river.ClientFromContext[pgx.Tx](ctx)
		for i := range 4 {
			if _, err := client.InsertTx(ctx, tx, noticeArgs{OrderID: 10*call + i}, &river.InsertOpts{MaxAttempts: 2}); err != nil {
				return err
			}
		}
		if call == 1 {
			return errNo
		}
		return nil
	}}
	result := db.Run(t, decide, workertest.Event{}, workertest.WithFollowUp(noticeWorker{work: func(job *river.Job[noticeArgs]) error {
		switch job.Args.OrderID {
		case 21:
			return errNo
		case 22:
			return river.JobSnooze(time.Hour)
		case 23:
			return river.JobCancel(errNo)
		}
		return nil
	}}))
	workertest.Succeeded(t, result)
	var got []string
	for _, f := range result.FollowUps {
		got = append(got, fmt.Sprint(f.Kind, f.Args, f.State, f.Attempts, f.Snoozes, len(f.Errors)))
	}
	want := []string{
		`send_notice{"order_id": 20}completed1 0 0`, `send_notice{"order_id": 21}discarded2 0 2`,
		`send_notice{"order_id": 22}scheduled0 10 0`, `send_notice{"order_id": 23}cancelled1 0 1`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	db := workertest.NewDatabase(t, effectsTable)
	fine := func() worker.JobType { return inserts() }
	for want, test := range map[string]struct {
		job   worker.JobType
		event workertest.Event
	}{
		"tx_job does not subscribe to signature_request_viewed from account: it subscribes to [signature_request_approved] from all sources": {fine(), workertest.Event{Type: lumin.SignatureRequestViewed}},
		"from account: it subscribes to [*] from app:crm, app:shop":                                                                          {crmOnly{&plainJob{}}, workertest.Event{}},
		`"crm" is not a source: give account or app:NAME`:                                                                                    {fine(), workertest.Event{Source: "crm"}},
		"unrecognized event: event is missing":                                                                                               {fine(), workertest.Event{Payload: []byte(`{}`)}},
		"unrecognized event":                                                                                                                 {fine(), workertest.Event{Payload: []byte{}}},
		"the program would not start: job type \"x\" (":                                                                                      {oneLetter{&plainJob{}}, workertest.Event{}},
		"has neither Work, WorkTx nor WorkBatch":                                                                                             {noWork{}, workertest.Event{}},
		"has more than one of Work, WorkTx and WorkBatch: a job type must have exactly one":                                                  {both{plainJob: &plainJob{}}, workertest.Event{}},
		"job type *workertest_test.plainJob is nil":                                                                                          {(*plainJob)(nil), workertest.Event{}},
	} {
		got := failures(t, func(t testing.TB) { db.Run(t, test.job, test.event) })
		if !strings.Contains(got, want) || strings.Contains(got, "\n") {
			t.Errorf("said %q, want %q", got, want)
		}
	}
	workertest.Succeeded(t, db.Run(t, inserts(), workertest.Event{}))
	if got := failures(t, func(t testing.TB) { db.Run(t, inserts(), workertest.Event{Source: "app:x"}) }); !strings.Contains(got, "tx_job has already processed this event") {
		t.Errorf("said %q", got)
	}
	if got := failures(t, func(t testing.TB) { db.Run(t, &plainJob{}, workertest.Event{}) }); !strings.Contains(got, "was recorded before plain_job existed") {
		t.Errorf("said %q", got)
	}
	if got := failures(t, func(t testing.TB) { workertest.NewDatabase(t, `CREATE TABEL x ()`) }); !strings.Contains(got, "CREATE TABEL") {
		t.Errorf("said %q", got)
	}
	// None of these calls has left the database locked.
	workertest.Succeeded(t, db.Run(t, inserts(), workertest.Event{SignatureRequestID: "2"}))
}

type crmOnly struct{ *plainJob }

func (crmOnly) Sources() []string { return []string{"app:crm", "app:shop"} }

type oneLetter struct{ *plainJob }

func (oneLetter) Kind() string { return "x" }

type noWork struct{ worker.Defaults }

func (noWork) Kind() string              { return "no_work" }
func (noWork) Events() []lumin.EventType { return []lumin.EventType{lumin.AnyEvent} }

type both struct {
	*plainJob
}

func (both) WorkTx(context.Context, pgx.Tx, *worker.Event) error { return nil }

// Every fixture is an event that the program accepts. It is the same each time,
// and has the type and title that it was given.
func TestEvents(t *testing.T) {
	t.Parallel()
	events := workertest.Events()
	if len(events) != 11 {
		t.Fatalf("%d events", len(events))
	}
	seen := map[lumin.EventType]bool{}
	for i, event := range events {
		body := event.Body()
		if !bytes.Equal(body, workertest.Events()[i].Body()) {
			t.Errorf("the body of %s is not the same each time", event.Type)
		}
		event.Title, event.SignatureRequestID, event.Time = "T", "id", time.UnixMilli(5)
		envelope, err := lumin.DecodeEnvelope(event.Body())
		if err != nil || envelope != (lumin.Envelope{SignatureRequestID: "id", EventType: event.Type, EventTime: time.UnixMilli(5).UTC()}) {
			t.Errorf("%+v, %v", envelope, err)
		}
		request, err := lumin.DecodeSignatureRequest(event.Body())
		if err != nil || *request.Title != "T" {
			t.Errorf("%s: title %v, %v", event.Type, request.Title, err)
		}
		seen[event.Type] = true
		var shape struct {
			Request map[string]any `json:"signature_request"`
		}
		if err := json.Unmarshal(body, &shape); err != nil || len(shape.Request) < 2 {
			t.Errorf("%s", body)
		}
	}
	if len(seen) != 11 {
		t.Errorf("types %v", seen)
	}
}
