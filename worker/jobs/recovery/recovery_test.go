package recovery_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/luminapi"
	"lumin-ingest/lumin"
	"lumin-ingest/store/operate"
	"lumin-ingest/worker"
	"lumin-ingest/worker/jobs/internal/jobtest"
	"lumin-ingest/worker/jobs/recovery"
	"lumin-ingest/worker/jobs/requeststate"
)

// book is a job type that writes one row for each effect.
type book struct{ worker.Defaults }

func (book) Kind() string              { return "book" }
func (book) Events() []lumin.EventType { return []lumin.EventType{lumin.AnyEvent} }
func (book) Sources() []string         { return []string{"account"} } // does not hide recovered events

func (book) WorkTx(ctx context.Context, tx pgx.Tx, e *worker.Event) error {
	_, err := tx.Exec(ctx, `INSERT INTO public.effects VALUES ($1, $2, $3)`, e.SignatureRequestID, string(e.Type), e.Recovered)
	return err
}

// shy refuses recovered events.
type shy struct{ book }

func (shy) Kind() string    { return "shy" }
func (shy) Recovered() bool { return false }

// rig is a database with states from events, and a stand-in for Lumin's API.
type rig struct {
	*jobtest.Rig
	*recovery.Recoverer
	t   *testing.T
	api *luminapi.Server
}

func newRig(t *testing.T) *rig {
	t.Helper()
	pool := jobtest.Pool(t)
	if _, err := pool.Exec(t.Context(), `CREATE TABLE public.effects (id text, event_type text, recovered boolean)`); err != nil {
		t.Fatal(err)
	}
	registry := worker.NewRegistry()
	registry.AddBatch(requeststate.JobType{})
	registry.AddTx(book{})
	registry.AddTx(shy{})
	r := &rig{t: t, Rig: jobtest.New(t, pool, registry, slog.LevelError, 4), api: luminapi.New()}
	t.Cleanup(r.api.Close)
	r.Recoverer = &recovery.Recoverer{
		Store: r.Rig.Store, Lumin: r.api.Client(), Rate: 1000, Retain: 400 * 24 * time.Hour,
		By: operate.Actor{Name: "ann", Via: operate.Command},
	}
	return r
}

// twoDaysAgo is later than Lumin's last attempt.
func twoDaysAgo() time.Time { return time.Now().Add(-48 * time.Hour).Truncate(time.Millisecond) }

// at sets the state of a signature request at Lumin.
func (r *rig) at(id string, status lumin.Status, changed time.Time) {
	r.api.SetRequest(id, map[string]any{"status": string(status), "title": "Ada's contract", "updated_at": int(changed.UnixMilli())})
	if status == lumin.StatusApproved {
		r.api.SetFile(id, lumin.FileAgreement, luminapi.PDF(1000))
	}
}

// event records a delivery.
func (r *rig) event(t lumin.EventType, id, members string, at time.Time) {
	r.t.Helper()
	r.Record(r.t, jobtest.Payload(at.UnixMilli(), t, id, members))
}

func (r *rig) run(s recovery.Selection) recovery.Summary {
	r.t.Helper()
	sum, err := r.Run(r.t.Context(), s, func(recovery.Finding) {})
	if err != nil {
		r.t.Fatal(err)
	}
	return sum
}

// effects lists what the job type book has done to recovered events.
func (r *rig) effects() string {
	r.t.Helper()
	r.WaitQuiet(r.t)
	var text string
	err := r.Pool.QueryRow(r.t.Context(), `
		SELECT coalesce(string_agg(id || ' ' || substr(event_type, 19), ', ' ORDER BY id, event_type), '') FROM public.effects WHERE recovered`).Scan(&text)
	if err != nil {
		r.t.Fatal(err)
	}
	return text
}

// Each state leads to its events and no others, once.
func TestRecover(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ago := twoDaysAgo()
	for id, status := range map[string]lumin.Status{
		"approved": lumin.StatusApproved, "rejected": lumin.StatusRejected, "cancelled": lumin.StatusCancelled, "failed": lumin.StatusFailed,
		"open": lumin.StatusNeedToSign, "waiting": lumin.StatusWaitingForOthers, "processing": lumin.StatusWaitingForProcessing, "new": "NEW_STATUS",
		"no-file": lumin.StatusApproved, "reported": lumin.StatusApproved, "half": lumin.StatusApproved,
	} {
		r.at(id, status, ago)
		r.event(lumin.SignatureRequestCreated, id, `"status":"NEED_TO_SIGN"`, ago.Add(-time.Hour))
	}
	r.api.SetFile("no-file", lumin.FileAgreement, nil)
	r.event(lumin.SignatureRequestApproved, "reported", `"status":"APPROVED"`, ago)
	r.event(lumin.SignatureRequestDownloadable, "reported", `"status":"APPROVED"`, ago.Add(time.Minute))
	r.event(lumin.SignatureRequestApproved, "half", `"status":"APPROVED"`, ago)
	r.WaitQuiet(t)

	sum := r.run(recovery.Selection{})
	want := recovery.Summary{Checked: 10, Found: 7, Recorded: 7, Open: 3, OtherStatuses: map[string]int{"NEW_STATUS": 1}, Stored: 1, NoFile: 1}
	if fmt.Sprint(sum) != fmt.Sprint(want) {
		t.Errorf("%+v\nwant %+v", sum, want)
	}
	const effects = "approved approved, approved downloadable, cancelled canceled, failed invalid, half downloadable, no-file approved, rejected declined"
	if got := r.effects(); got != effects {
		t.Errorf("effects: %s\nwant     %s", got, effects)
	}
	if n := r.Count(t, `SELECT count(*) FROM lumin.runs r JOIN lumin.events e ON e.id = r.event_id WHERE e.source = 'recovered' AND r.job_kind = 'shy'`); n != 0 {
		t.Errorf("%d runs of a job type that refuses recovered events", n)
	}
	if n := r.Count(t, `SELECT count(*) FROM lumin.audit_log a JOIN lumin.events e ON e.id = (a.subject->>'event')::bigint AND e.event_type = a.subject->>'event_type'
		WHERE a.action = 'recover_event' AND a.actor = 'ann' AND a.outcome = 'done' AND e.source = 'recovered'`); n != 7 {
		t.Errorf("%d rows of the audit log", n)
	}
	if n := r.Count(t, `SELECT count(*) FROM lumin.signature_requests WHERE status IN ('APPROVED', 'REJECTED', 'CANCELLED', 'FAILED')`); n != 7 {
		t.Errorf("%d signature requests have ended, want 7", n)
	}
	// Nothing is found twice. no-file is asked about again.
	if sum := r.run(recovery.Selection{}); sum.Recorded != 0 || sum.Checked != 5 || r.effects() != effects {
		t.Errorf("a second time: %+v", sum)
	}
	// The originals arrive after all.
	r.event(lumin.SignatureRequestApproved, "approved", `"status":"APPROVED"`, ago.Add(time.Second))
	r.event(lumin.SignatureRequestDeclined, "rejected", "", ago)
	if r.effects() != effects || r.Count(t, `SELECT count(*) FROM lumin.redeliveries WHERE differs = 'recovered' AND payload IS NOT NULL`) != 2 {
		t.Errorf("after the originals: %s", r.effects())
	}
	if n := r.Count(t, `SELECT count(*) FROM public.effects WHERE NOT recovered`); n != 2*14 {
		t.Errorf("%d effects of deliveries", n)
	}
}

// Given signature requests need not be known. Those that are unknown to Lumin are
// named.
func TestRecoverGiven(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.at("a", lumin.StatusRejected, twoDaysAgo())
	r.at("b", lumin.StatusApproved, twoDaysAgo())
	r.at("not given", lumin.StatusApproved, twoDaysAgo())
	sum := r.run(recovery.Selection{IDs: []string{"a", "b", "c"}})
	if sum.Recorded != 3 || !slices.Equal(sum.Unknown, []string{"c"}) {
		t.Errorf("%+v", sum)
	}
	if got := r.effects(); got != "a declined, b approved, b downloadable" {
		t.Error(got)
	}
	before := len(r.api.Requests(luminapi.API))
	if sum := r.run(recovery.Selection{IDs: []string{"a", "b", "c"}, After: "a"}); sum.Recorded != 0 || sum.Stored != 2 {
		t.Errorf("again: %+v", sum)
	}
	if n := len(r.api.Requests(luminapi.API)) - before; n != 2 {
		t.Errorf("%d requests after a, want 2", n)
	}
	// A wrong key gives the same answer for all.
	_, err := r.Run(t.Context(), recovery.Selection{IDs: []string{"x", "y"}}, func(recovery.Finding) {})
	if err != nil {
		t.Errorf("Lumin knows signature requests of the newest events: %v", err)
	}
	for _, id := range []string{"a", "b"} {
		r.api.SetRequest(id, nil)
	}
	if _, err := r.Run(t.Context(), recovery.Selection{IDs: []string{"x", "y"}}, func(recovery.Finding) {}); !errors.Is(err, recovery.ErrAllUnknown) {
		t.Errorf("Lumin knows none: %v", err)
	}
}

// What Lumin may still deliver, what has no time, what is too old, and what was
// erased stays as it is.
func TestRecoverLeavesOut(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	now := time.Now()
	r.at("young", lumin.StatusApproved, now.Add(-30*time.Hour))
	r.at("old", lumin.StatusRejected, now.Add(-400*24*time.Hour+12*time.Hour)) // less than a day before retention
	r.at("before", lumin.StatusRejected, now.Add(-10*24*time.Hour))
	r.at("erased", lumin.StatusRejected, twoDaysAgo())
	long, ago := int(now.Add(-500*24*time.Hour).UnixMilli()), int(twoDaysAgo().UnixMilli())
	const year9999 = 253402300799999
	given := recovery.Selection{IDs: []string{"before", "erased", "old", "young"}}
	for id, members := range map[string]map[string]any{
		"no-time-0": {"created_at": ago}, "no-time-1": {"created_at": ago, "updated_at": int(now.Unix())},
		"no-time-2": {"created_at": ago, "updated_at": "soon"}, "no-time-3": {"created_at": ago, "updated_at": year9999},
		"no-time-nor-creation": {}, "no-time-old": {"created_at": long},
		"old-changed": {"created_at": long, "updated_at": ago}, "old-known": {"created_at": long, "updated_at": ago},
	} {
		members["status"] = "CANCELLED"
		r.api.SetRequest(id, members)
		given.IDs = append(given.IDs, id)
	}
	slices.Sort(given.IDs)
	r.event(lumin.SignatureRequestViewed, "old-known", "", twoDaysAgo())
	if _, err := r.Pool.Exec(t.Context(), `INSERT INTO lumin.erasures (subject, signature_request_ids, event_ids, last_event_id, reason, finished_at)
		VALUES ('signature_request', '{x,erased}', '{}', 0, 'r', now())`); err != nil {
		t.Fatal(err)
	}
	r.Since = now.Add(-9 * 24 * time.Hour)
	sum := r.run(given)
	if sum.Retried != 2 || sum.TooOld != 2 || sum.Before != 1 || sum.NoTime != 6 || sum.Erased != 1 || sum.Recorded != 1 || sum.Found != 1 || sum.Checked != 11 {
		t.Errorf("%+v", sum)
	}
	if until := now.Add(time.Hour).Truncate(time.Millisecond); sum.RetriedUntil == nil || !sum.RetriedUntil.Equal(until) {
		t.Errorf("may be retried until %v, want %v", sum.RetriedUntil, until)
	}
	r.Now = true
	if sum := r.run(given); sum.Recorded != 6 || sum.NoTime != 0 || sum.Retried != 0 || sum.TooOld != 4 || sum.Before != 1 || sum.Stored != 1 {
		t.Errorf("now: %+v", sum)
	}
	const effects = "no-time-0 canceled, no-time-1 canceled, no-time-2 canceled, no-time-3 canceled, old-known canceled, young approved, young downloadable"
	if got := r.effects(); got != effects {
		t.Error(got)
	}
}

// An event that retention has removed is not recovered, as long as the row of its
// signature request remembers it.
func TestRecoverRemoved(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ago := twoDaysAgo()
	r.at("a", lumin.StatusApproved, ago)
	r.event(lumin.SignatureRequestApproved, "a", `"status":"APPROVED"`, ago)
	r.WaitQuiet(t)
	if _, err := r.Pool.Exec(t.Context(), `DELETE FROM lumin.events`); err != nil {
		t.Fatal(err)
	}
	if sum := r.run(recovery.Selection{}); sum.Stored != 1 || sum.Recorded != 1 || r.effects() != "a downloadable" {
		t.Errorf("%+v, %s", sum, r.effects())
	}
}

// A plan records nothing until it is told to, and then without asking again. What
// was reported meanwhile is left out.
func TestRecoverPlan(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ago := twoDaysAgo()
	r.at("a", lumin.StatusRejected, ago)
	r.at("b", lumin.StatusCancelled, ago)
	r.at("c", lumin.StatusFailed, ago)
	var planned, recorded []string
	plan, err := r.Plan(t.Context(), recovery.Selection{IDs: []string{"a", "b", "c"}}, func(f recovery.Finding) {
		if !slices.Equal(f.JobTypes, []string{"book", "signature_request_state"}) || f.EventID != 0 || !f.Since.Equal(ago) || f.MayBeRetried {
			t.Errorf("%+v", f)
		}
		planned = append(planned, f.SignatureRequestID+" "+strings.TrimPrefix(string(f.EventType), "signature_request_"))
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(planned, ", "), "a declined, b canceled, c invalid"; got != want {
		t.Errorf("planned %s, want %s", got, want)
	}
	if n := r.Count(t, `SELECT (SELECT count(*) FROM lumin.events) + (SELECT count(*) FROM lumin.audit_log)`); n != 0 {
		t.Errorf("a plan wrote %d rows", n)
	}
	r.event(lumin.SignatureRequestCanceled, "b", "", ago)
	asked := len(r.api.Requests())
	if err := plan.Record(t.Context(), func(f recovery.Finding) { recorded = append(recorded, f.SignatureRequestID) }); err != nil {
		t.Fatal(err)
	}
	if sum := plan.Summary(); !slices.Equal(recorded, []string{"a", "c"}) || sum.Recorded != 2 || sum.Stored != 1 || len(r.api.Requests()) != asked {
		t.Errorf("%v, %+v, %d more requests", recorded, sum, len(r.api.Requests())-asked)
	}
	if got := r.effects(); got != "a declined, c invalid" {
		t.Error(got)
	}
}

// A failed question about the file does not hide the rest of the answer, and
// failures of single signature requests do not end a pass.
func TestRecoverFaults(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, id := range []string{"a", "b", "c"} {
		r.at(id, lumin.StatusApproved, twoDaysAgo())
	}
	r.api.Next(luminapi.Fine(), luminapi.Status(http.StatusBadGateway), luminapi.Status(http.StatusInternalServerError),
		luminapi.Answer("application/json", `{"signature_request":{"signature_request_id":"other","status":"APPROVED"}}`))
	given := recovery.Selection{IDs: []string{"a", "b", "c"}}
	if sum := r.run(given); sum.Failed != 3 || sum.Recorded != 1 || !strings.Contains(sum.Cause, "502") || r.effects() != "a approved" {
		t.Errorf("%+v, %s", sum, r.effects())
	}
	if sum := r.run(given); sum.Failed != 0 || sum.Recorded != 5 {
		t.Errorf("again: %+v", sum)
	}
	r.api.Each(luminapi.Status(http.StatusUnauthorized))
	var refused *lumin.APIError
	if _, err := r.Run(t.Context(), given, func(recovery.Finding) {}); !errors.As(err, &refused) || refused.StatusCode != http.StatusUnauthorized {
		t.Errorf("a wrong key: %v", err)
	}
}

// The payload is an envelope that says where it comes from.
func TestRecoveredPayload(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ago := twoDaysAgo()
	r.at("a", lumin.StatusRejected, ago)
	before := time.Now()
	r.run(recovery.Selection{IDs: []string{"a"}})
	var (
		body    []byte
		key     lumin.EventKey
		receive time.Time
	)
	err := r.Pool.QueryRow(t.Context(), `SELECT payload, event_key, received_at FROM lumin.events`).Scan(&body, (*[16]byte)(&key), &receive)
	if err != nil {
		t.Fatal(err)
	}
	envelope, err := lumin.DecodeEnvelope(body)
	if err != nil || key != envelope.Key() || !envelope.EventTime.Equal(ago) || receive.Before(before.Add(-time.Second)) {
		t.Errorf("%+v, %v: %s", envelope, err, body)
	}
	var got struct {
		SignatureRequest struct {
			Title string `json:"title"`
		} `json:"signature_request"`
		Recovered struct {
			At  int64  `json:"at"`
			By  string `json:"by"`
			API string `json:"api"`
		} `json:"recovered"`
	}
	if err := json.Unmarshal(body, &got); err != nil || got.Recovered.By != "ann" || got.Recovered.API != r.api.URL() ||
		time.UnixMilli(got.Recovered.At).Before(before.Add(-time.Second)) || got.SignatureRequest.Title != "Ada's contract" {
		t.Errorf("%v: %s", err, body)
	}
}
