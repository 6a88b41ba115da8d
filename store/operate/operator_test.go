package operate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/migrations"
	"lumin-ingest/store"
	"lumin-ingest/store/conflict"
	"lumin-ingest/store/erasure"
	"lumin-ingest/store/failures"
	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/lanes"
	"lumin-ingest/store/operate"
	"lumin-ingest/store/replay"
)

// ann is who makes the changes of the tests.
func ann() operate.Actor {
	return operate.Actor{Name: "ann", From: "10.0.0.7", Via: operate.Dashboard}
}

// text is a short form of a row.
func text(r operate.Row) string {
	line := fmt.Sprintf("%s %s %s %s %s %s", r.Actor, r.Via, r.From, r.Action, r.Subject, r.Outcome)
	if string(r.Result) != "{}" {
		line += " " + string(r.Result)
	}
	if r.Error != "" {
		line += ": " + r.Error
	}
	if r.Reason != "" {
		line += " because " + r.Reason
	}
	return line
}

// wantLog checks the whole log, the newest row first.
func wantLog(t *testing.T, o *operate.Operator, want ...string) {
	t.Helper()
	rows, err := o.List(t.Context(), operate.Filter{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, row := range rows {
		got = append(got, text(row))
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the log is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Each change has one row, with its subject, its reason and its result.
func TestChanges(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	o := operate.New(s)
	storetest.Register(t, s, "book")
	storetest.Record(t, s, storetest.Delivery(1, "book"), storetest.Delivery(2, "book"))
	storetest.FailAll(t, s)
	failed := replay.Filter{Status: replay.Failed, Kinds: []string{"book"}}
	check := func(what string, got, want any, err error) {
		t.Helper()
		if err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", what, got, err, want)
		}
	}

	runs, err := o.Dismiss(t.Context(), ann(), failed, "test data of bob@example.com")
	check("dismiss", runs, int64(2), err)
	check("the reason", storetest.Value[string](t, s.Pool(), `SELECT DISTINCT reason FROM lumin.dismissals`), "test data of [address]", nil)
	check("dismissed by", storetest.Value[string](t, s.Pool(), `SELECT DISTINCT dismissed_by FROM lumin.dismissals`), "ann", nil)
	runs, err = o.Restore(t.Context(), ann(), failed, "")
	check("restore", runs, int64(2), err)
	id, err := o.Replay(t.Context(), ann(), replay.NewOrder{Filter: failed, Rate: 5, Reason: "fixed for bob@example.com", OrderedBy: "not me"})
	check("replay", id, int64(1), err)
	check("ordered by", storetest.Value[string](t, s.Pool(), `SELECT ordered_by FROM lumin.replays`), "ann", nil)
	check("cancel", nil, nil, o.CancelReplay(t.Context(), ann(), id, "too early"))
	if err := o.CancelReplay(t.Context(), ann(), id, ""); !errors.Is(err, replay.ErrEnded) {
		t.Errorf("cancelled twice: %v", err)
	}
	storetest.Exec(t, s.Pool(), `INSERT INTO lumin.river_queue (name, updated_at) VALUES ('slow', now())`)
	check("pause", nil, nil, o.PauseQueue(t.Context(), ann(), "slow", "maintenance"))
	check("paused", storetest.Value[bool](t, s.Pool(), `SELECT paused_at IS NOT NULL FROM lumin.river_queue`), true, nil)
	check("resume", nil, nil, o.ResumeQueue(t.Context(), ann(), "slow", ""))
	check("resumed", storetest.Value[bool](t, s.Pool(), `SELECT paused_at IS NULL FROM lumin.river_queue`), true, nil)
	for _, queue := range []string{"lumin", "lumin_periodic"} {
		if err := o.PauseQueue(t.Context(), ann(), queue, ""); !errors.Is(err, operate.ErrInternalQueue) || !strings.HasPrefix(err.Error(), "queue "+queue+" cannot be paused: ") {
			t.Errorf("paused queue %s: %v", queue, err)
		}
	}
	if err := o.PauseQueue(t.Context(), ann(), "none", ""); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("paused an unknown queue: %v", err)
	}
	check("the reason of the replay", storetest.Value[string](t, s.Pool(), `SELECT reason FROM lumin.replays`), "fixed for [address]", nil)
	jobs, err := o.RetryFollowUps(t.Context(), ann(), failures.FollowUpFilter{Kinds: []string{"mail"}}, "")
	check("retry follow-ups", jobs, int64(0), err)
	check("reveal", nil, nil, o.Reveal(t.Context(), ann(), operate.Revealed{What: "event", EventID: 2}, ""))

	const by = "ann dashboard 10.0.0.7 "
	wantLog(t, o,
		by+`reveal {"what": "event", "event": 2} done`,
		by+`retry_follow_ups {"job_kinds": ["mail"]} done`,
		by+`pause_queue {"queue": "none"} failed: pause queue none: not found`,
		by+`resume_queue {"queue": "slow"} done`,
		by+`pause_queue {"queue": "slow"} done because maintenance`,
		by+`cancel_replay {"replay": 1} failed: replay 1 is cancelled: the order has ended`,
		by+`cancel_replay {"replay": 1} done because too early`,
		by+`replay {"rate": 5, "status": "failed", "job_kinds": ["book"]} done {"replay": 1} because fixed for [address]`,
		by+`restore {"status": "failed", "job_kinds": ["book"]} done {"runs": 2}`,
		by+`dismiss {"status": "failed", "job_kinds": ["book"]} done {"runs": 2} because test data of [address]`,
	)
}

func TestCancelRuns(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	o := operate.New(s)
	first, other := storetest.Delivery(1, "book", "mail"), storetest.Delivery(2, "book")
	storetest.Record(t, s, first, other)
	storetest.Exec(t, s.Pool(), `
		UPDATE lumin.river_job SET state = 'retryable', attempt = 1, errors = ARRAY['{"error": "no invoice"}'::jsonb]
		WHERE kind = 'mail' OR args ->> 'event_key' = $1`, storetest.Key(first).String())
	retrying := replay.Filter{Status: replay.Retrying, Kinds: []string{"book"}}
	if runs, err := o.CancelRuns(t.Context(), ann(), retrying, "the customer has left"); err != nil || runs != 1 {
		t.Errorf("%d runs cancelled, %v", runs, err)
	}
	storetest.WantState(t, s, first, "book", "cancelled 0")
	storetest.WantState(t, s, first, "mail", "pending 0") // of another job type
	storetest.WantState(t, s, other, "book", "pending 0") // has not failed
	if _, err := o.CancelRuns(t.Context(), ann(), replay.Filter{Status: replay.Failed}, ""); err == nil {
		t.Error("failed runs were cancelled")
	}
	if n := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.river_job WHERE state = 'cancelled' AND metadata ? 'cancel_attempted_at'`); n != 1 {
		t.Errorf("%d jobs cancelled", n)
	}
}

func TestLanesConflictsErasures(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	o := operate.New(s)
	storetest.Register(t, s, "book")
	storetest.Exec(t, s.Pool(), `UPDATE lumin.job_types SET when_failed = 'hold'`)
	d := storetest.SignedBy(1, "ann@example.com", "1", "book")
	storetest.Record(t, s, d, storetest.SignedBy(1, "bob@example.com", "1", "book"))
	storetest.FailAll(t, s)
	held, err := lanes.Find(t.Context(), s.Pool(), "book", d.Envelope.SignatureRequestID)
	if err != nil {
		t.Fatal(err)
	}
	if skipped, err := o.SkipLane(t.Context(), ann(), held, "test data of ann@example.com"); err != nil || !skipped {
		t.Errorf("skipped %t, %v", skipped, err)
	}
	conflicts, err := conflict.List(t.Context(), s.Pool(), conflict.Filter{Limit: 1})
	if err != nil || len(conflicts) != 1 {
		t.Fatal(conflicts, err)
	}
	if _, err := o.DecideConflict(t.Context(), ann(), conflicts[0], "delete", "a reason"); err == nil {
		t.Error("an unknown decision was taken")
	}
	if id, err := o.DecideConflict(t.Context(), ann(), conflicts[0], operate.Promote, "bob@example.com asked"); err != nil || id < 2 {
		t.Errorf("promoted as %d, %v", id, err)
	}
	if reasons := storetest.Value[string](t, s.Pool(), `
		SELECT concat_ws(', ', (SELECT reason FROM lumin.dismissals), (SELECT decision_reason FROM lumin.redeliveries))`); reasons != "test data of [address], [address] asked" {
		t.Errorf("reasons %q", reasons)
	}
	var refused *conflict.RefusedError
	if _, err := o.DecideConflict(t.Context(), ann(), conflicts[0], operate.DismissConflict, "no"); !errors.As(err, &refused) {
		t.Errorf("dismissed after the promotion: %v", err)
	}
	plan, err := erasure.NewPlan(t.Context(), s.Pool(), erasure.Subject{Email: "ann@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	if id, err := o.Erase(t.Context(), ann(), plan, "ticket 7"); err != nil || id != 1 {
		t.Errorf("erasure %d, %v", id, err)
	}
	rows, err := o.List(t.Context(), operate.Filter{Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	log, err := json.Marshal(rows)
	if err != nil || strings.Contains(string(log), "@") || len(rows) != 4 {
		t.Errorf("%v, %d rows: %s", err, len(rows), log)
	}
	for i, want := range []string{`erase`, `dismiss_conflict`, `promote_conflict`, `skip_lane`} {
		if rows[i].Action != want || (rows[i].Outcome == "failed") != (want == "dismiss_conflict") {
			t.Errorf("row %d: %s, want %s", i, text(rows[i]), want)
		}
	}
	if got, want := string(rows[0].Subject)+string(rows[0].Result), `{"events": 2, "subject": "email", "signature_requests": 1}{"erasure": 1}`; got != want {
		t.Errorf("erasure is %s, want %s", got, want)
	}
}

// Without a row there is no change, and without a reason neither.
func TestRefusals(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	o := operate.New(s)
	failed := replay.Filter{Status: replay.Failed}
	for name, call := range map[string]func() error{
		"dismiss": func() error { _, err := o.Dismiss(t.Context(), ann(), failed, " "); return err },
		"lane":    func() error { _, err := o.SkipLane(t.Context(), ann(), lanes.Lane{}, ""); return err },
		"conflict": func() error {
			_, err := o.DecideConflict(t.Context(), ann(), conflict.Row{}, operate.Promote, "")
			return err
		},
		"erase": func() error { _, err := o.Erase(t.Context(), ann(), erasure.Plan{}, ""); return err },
	} {
		if err := call(); !errors.Is(err, operate.ErrNoReason) {
			t.Errorf("%s without a reason: %v", name, err)
		}
	}
	if _, err := o.Replay(t.Context(), ann(), replay.NewOrder{}); !errors.Is(err, replay.ErrNoFilter) {
		t.Errorf("a replay without a filter: %v", err)
	}
	wantLog(t, o)
	storetest.Exec(t, s.Pool(), `ALTER TABLE lumin.audit_log ADD CHECK (actor <> 'ann')`)
	called := false
	err := o.Do(t.Context(), ann(), operate.Change{Action: "test"}, func(context.Context) (any, error) { called = true; return nil, nil })
	if err == nil || called || !strings.Contains(err.Error(), "nothing changed") {
		t.Errorf("without a row the change was made: %t, %v", called, err)
	}
}

// The outcome is stored even if the caller has gone, and the row is there before.
func TestOutcome(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	o := operate.New(s)
	ctx, cancel := context.WithCancel(t.Context())
	err := o.Do(ctx, ann(), operate.Change{Action: "test"}, func(context.Context) (any, error) {
		wantLog(t, o, `ann dashboard 10.0.0.7 test {} `)
		cancel()
		return map[string]int{"runs": 3}, errors.New("no connection to bob@example.com")
	})
	if err == nil || err.Error() != "no connection to bob@example.com" {
		t.Errorf("error %v", err)
	}
	wantLog(t, o, `ann dashboard 10.0.0.7 test {} failed {"runs": 3}: no connection to [address]`)
}

func TestList(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	o := operate.New(s)
	storetest.Exec(t, s.Pool(), `
		INSERT INTO lumin.audit_log (at, actor, via, action, outcome)
		SELECT '2026-01-01'::timestamptz + n * interval '1 hour', CASE WHEN n % 2 = 0 THEN 'ann' ELSE 'bob' END,
		       CASE WHEN n = 5 THEN 'api' ELSE 'command' END, CASE WHEN n < 4 THEN 'replay' ELSE 'dismiss' END,
		       CASE WHEN n = 3 THEN 'failed' ELSE 'done' END
		FROM generate_series(1, 6) n`)
	third := time.Date(2026, 1, 1, 3, 0, 0, 0, time.UTC)
	for want, f := range map[string]operate.Filter{
		"[6 5 4]":       {Limit: 3},
		"[3 2 1]":       {Limit: 3, Before: 4},
		"[6 4 2]":       {Limit: 9, Actor: "ann"},
		"[3 2 1] ":      {Limit: 9, Action: "replay"},
		"[2]":           {Limit: 9, Action: "replay", Actor: "ann"},
		"[5]":           {Limit: 9, Via: "api"},
		"[3]":           {Limit: 9, Failed: true},
		"[]":            {Limit: 9, Actor: "cat"},
		"[6 5 4 3]":     {Limit: 9, Since: &third},
		"[2 1]":         {Limit: 9, Until: &third},
		"[6 5 4 3 2 1]": {Limit: 9},
	} {
		rows, err := o.List(t.Context(), f)
		ids := []int64{}
		for _, row := range rows {
			ids = append(ids, row.ID)
		}
		if got := fmt.Sprint(ids); err != nil || got != strings.TrimSpace(want) {
			t.Errorf("%+v lists %s, %v, want %s", f, got, err, want)
		}
	}
}

// Functions that are called in psql leave a row as well. A member of lumin_admin
// can write rows and change only their outcome.
func TestFromSQL(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	pgtest.UseRoles(t, url)
	login := pgtest.Login(t, url, migrations.Admin)
	s := storetest.On(t, pgtest.Pool(t, login))
	o := operate.New(s)
	pgtest.Exec(t, s.Pool(), `SELECT lumin.replay(status => 'failed', job_kinds => '{book}', reason => 'fixed')`)
	pgtest.Exec(t, s.Pool(), `SELECT lumin.erase('{r-1}', 'ticket 7')`)
	name := pgtest.Value[string](t, s.Pool(), `SELECT current_user::text`)
	wantLog(t, o,
		name+` sql  erase {"subject": "signature_request", "signature_request_ids": ["r-1"]} done {"erasure": 1} because ticket 7`,
		name+` sql  replay {"status": "failed", "job_kinds": ["book"]} done {"replay": 1} because fixed`)
	if err := o.Reveal(t.Context(), ann(), operate.Revealed{What: "event", EventID: 1}, ""); err != nil {
		t.Error(err)
	}
	for _, sql := range []string{`UPDATE lumin.audit_log SET actor = 'bob'`, `DELETE FROM lumin.audit_log`} {
		if _, err := s.Pool().Exec(t.Context(), sql); err == nil {
			t.Errorf("a member of lumin_admin may %s", sql)
		}
	}
}
