package reconcile_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/riverqueue/river"

	"lumin-ingest/internal/luminapi"
	"lumin-ingest/lumin"
	"lumin-ingest/worker"
	"lumin-ingest/worker/jobs/internal/jobtest"
	"lumin-ingest/worker/jobs/reconcile"
	"lumin-ingest/worker/jobs/requeststate"
)

// reconciling is a database with states from events, and a fake of Lumin's API.
type reconciling struct {
	*jobtest.Rig
	t   *testing.T
	api *luminapi.Server
	*reconcile.Reconciler
	found []reconcile.Difference
}

func newReconciling(t *testing.T) *reconciling {
	t.Helper()
	registry := worker.NewRegistry()
	registry.AddBatch(requeststate.JobType{})
	r := &reconciling{t: t, Rig: jobtest.New(t, jobtest.Pool(t), registry, slog.LevelWarn, 10), api: luminapi.New()}
	t.Cleanup(r.api.Close)
	r.Reconciler = &reconcile.Reconciler{
		Store: r.Rig.Store, Lumin: r.api.Client(), Rate: 1000,
		Report: func(d reconcile.Difference) { r.found = append(r.found, d) },
	}
	return r
}

// recordEvent records an event of an hour ago and waits until it is merged.
func (r *reconciling) recordEvent(id, members string) {
	r.t.Helper()
	r.Record(r.t, jobtest.Payload(time.Now().Add(-time.Hour).UnixMilli(), lumin.SignatureRequestViewed, id, members))
	r.WaitQuiet(r.t)
}

func (r *reconciling) run() reconcile.Summary {
	r.t.Helper()
	r.found = nil
	sum, err := r.Run(r.t.Context(), time.Now())
	if err != nil {
		r.t.Fatal(err)
	}
	return sum
}

// status returns the stored state of a signature request.
func (r *reconciling) status(id string) (status, title string) {
	r.t.Helper()
	err := r.Rig.Store.Pool().QueryRow(r.t.Context(), `SELECT coalesce(status, ''), coalesce(title, '') FROM lumin.signature_requests WHERE signature_request_id = $1`, id).
		Scan(&status, &title)
	if err != nil {
		r.t.Fatal(err)
	}
	return status, title
}

func TestReconcile(t *testing.T) {
	t.Parallel()
	r := newReconciling(t)
	r.recordEvent("same", `"status":"NEED_TO_SIGN","title":"A"`)
	r.recordEvent("missed", `"status":"NEED_TO_SIGN","title":"Ada's contract"`)
	r.recordEvent("gone", `"status":"WAITING_FOR_OTHERS"`)
	r.recordEvent("approved", `"status":"APPROVED"`)
	r.api.SetRequest("same", map[string]any{"status": "NEED_TO_SIGN", "title": "A"})
	r.api.SetRequest("missed", map[string]any{"status": "REJECTED", "title": "Ada's other contract", "reason": "no, says Ada"})

	want := reconcile.Summary{Checked: 3, Differ: 1, Gone: 1}
	if sum := r.run(); sum != want || sum.Settled() {
		t.Errorf("%+v, want %+v", sum, want)
	}
	text, _ := json.Marshal(r.found)
	if strings.Contains(string(text), "Ada") {
		t.Errorf("reported text that people wrote: %s", text)
	}
	slices.SortFunc(r.found, func(a, b reconcile.Difference) int {
		return strings.Compare(a.SignatureRequestID+a.Field, b.SignatureRequestID+b.Field)
	})
	if got, want := fmt.Sprint(r.found), `[{gone signature_request  gone false} {missed reason   false} {missed status NEED_TO_SIGN REJECTED false} {missed title   false}]`; got != want {
		t.Errorf("found %s, want %s", got, want)
	}
	if status, title := r.status("missed"); status != "NEED_TO_SIGN" || title != "Ada's contract" {
		t.Errorf("without Repair the row changed to %s, %s", status, title)
	}

	r.Repair = true
	want = reconcile.Summary{Checked: 2, Differ: 1, Repaired: 1} // without the one that is gone
	if sum := r.run(); sum != want {
		t.Errorf("%+v, want %+v", sum, want)
	}
	if status, title := r.status("missed"); status != "REJECTED" || title != "Ada's other contract" {
		t.Errorf("repaired to %s, %s", status, title)
	}
	if n := len(r.api.Requests(luminapi.Details)); n > 0 {
		t.Errorf("%d details_urls were followed", n)
	}
	if sum := r.run(); !sum.Settled() || sum.Checked != 1 {
		t.Errorf("afterwards: %+v", sum)
	}

	// An event older than the repair changes nothing. A newer event does.
	r.Record(t, jobtest.Payload(time.Now().Add(-time.Minute).UnixMilli(), lumin.SignatureRequestViewed, "missed", `"title":"old"`))
	r.Record(t, jobtest.Payload(time.Now().Add(time.Minute).UnixMilli(), lumin.SignatureRequestViewed, "missed", `"status":"NEED_TO_SIGN","signing_type":"ORDER"`))
	r.WaitQuiet(t)
	if status, title := r.status("missed"); status != "REJECTED" || title != "Ada's other contract" {
		t.Errorf("after late events: %s, %s", status, title)
	}
}

// A replay of an old event does not clear gone_at. A newer event does.
func TestNewerEventClearsGone(t *testing.T) {
	t.Parallel()
	r := newReconciling(t)
	r.recordEvent("same", `"status":"NEED_TO_SIGN"`)
	r.recordEvent("gone", `"status":"WAITING_FOR_OTHERS"`)
	r.api.SetRequest("same", map[string]any{"status": "NEED_TO_SIGN"})
	if sum, want := r.run(), (reconcile.Summary{Checked: 2, Gone: 1}); sum != want {
		t.Errorf("%+v, want %+v", sum, want)
	}
	r.api.SetRequest("gone", map[string]any{"status": "WAITING_FOR_OTHERS"})
	if _, err := r.Rig.Store.Pool().Exec(t.Context(), `UPDATE lumin.signature_requests SET gone_at = now() + interval '1 hour' WHERE gone_at IS NOT NULL`); err != nil {
		t.Fatal(err)
	}
	r.Record(t, jobtest.Payload(time.Now().Add(-2*time.Hour).UnixMilli(), lumin.SignatureRequestCreated, "gone", `"title":"late"`))
	r.WaitQuiet(t)
	if sum := r.run(); sum.Checked != 1 {
		t.Errorf("after an older event: %+v", sum)
	}
	if _, err := r.Rig.Store.Pool().Exec(t.Context(), `UPDATE lumin.signature_requests SET gone_at = now() - interval '1 hour' WHERE gone_at IS NOT NULL`); err != nil {
		t.Fatal(err)
	}
	r.Record(t, jobtest.Payload(time.Now().UnixMilli(), lumin.SignatureRequestViewed, "gone", `"title":"new"`))
	r.WaitQuiet(t)
	if sum := r.run(); sum.Checked != 2 {
		t.Errorf("after a newer event: %+v", sum)
	}
}

// An unreachable API ends the pass immediately, with the cause.
func TestReconcileUnreachable(t *testing.T) {
	t.Parallel()
	r := newReconciling(t)
	for n := range 6 {
		r.recordEvent(fmt.Sprintf("id-%d", n), `"status":"NEED_TO_SIGN"`)
		r.api.SetRequest(fmt.Sprintf("id-%d", n), map[string]any{"status": "NEED_TO_SIGN"})
	}
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	for address, cause := range map[string]string{
		"http://127.0.0.1:1/v1":           "connection refused",
		"https://lumin.invalid/v1":        "lookup lumin.invalid",
		secure.URL:                        "certificate",
		"https" + plain.URL[len("http"):]: "TLS",
	} {
		client, err := lumin.NewClient(lumin.ClientConfig{BaseURL: address, APIKey: "k"})
		if err != nil {
			t.Fatal(err)
		}
		r.Lumin = client
		sum, err := r.Run(t.Context(), time.Now())
		if !errors.Is(err, lumin.ErrNoAnswer) || !strings.Contains(err.Error(), cause) || sum.Failed != 1 || sum.Cause == "" {
			t.Errorf("%s: %+v, %v", address, sum, err)
		}
	}
	r.Lumin = r.api.Client()
	if sum := r.run(); sum.Checked != 6 {
		t.Errorf("afterwards: %+v", sum)
	}
}

// A value from an event that is newer than Lumin's response is no difference.
func TestReconcileNewerEvent(t *testing.T) {
	t.Parallel()
	r := newReconciling(t)
	r.Repair = true
	r.Record(t, jobtest.Payload(time.Now().Add(time.Minute).UnixMilli(), lumin.SignatureRequestViewed, "id", `"status":"WAITING_FOR_OTHERS","title":"new"`))
	r.WaitQuiet(t)
	r.api.SetRequest("id", map[string]any{"status": "NEED_TO_SIGN", "title": "old"})
	if sum := r.run(); sum.Differ != 0 {
		t.Errorf("%+v: %v", sum, r.found)
	}
	if status, title := r.status("id"); status != "WAITING_FOR_OTHERS" || title != "new" {
		t.Errorf("became %s, %s", status, title)
	}
}

// open makes the signature requests id-0, id-1 and so on, which are the same here and
// at Lumin.
func (r *reconciling) open(count int) {
	r.t.Helper()
	for n := range count {
		id := fmt.Sprintf("id-%d", n)
		r.recordEvent(id, `"status":"NEED_TO_SIGN"`)
		r.api.SetRequest(id, map[string]any{"status": "NEED_TO_SIGN"})
	}
}

// A pass waits for Retry-After, skips single failures, and gives up if every
// request fails. The next pass begins with the remaining signature requests.
func TestReconcileFaults(t *testing.T) {
	t.Parallel()
	r := newReconciling(t)
	r.open(8)
	r.api.Next(luminapi.Status(http.StatusTooManyRequests, "Retry-After", "1"), luminapi.Status(http.StatusInternalServerError), luminapi.Fine())
	start := time.Now()
	if sum := r.run(); sum.Checked != 7 || sum.Failed != 1 || sum.Settled() {
		t.Errorf("%+v", sum)
	}
	if time.Since(start) < time.Second {
		t.Error("the pass did not wait for Retry-After")
	}

	asked := len(r.api.Requests(luminapi.API))
	var faults []luminapi.Fault
	for range 5 {
		faults = append(faults, luminapi.Status(http.StatusBadGateway))
	}
	r.api.Next(append([]luminapi.Fault{luminapi.Fine()}, faults...)...)
	sum, err := r.Run(t.Context(), time.Now())
	if err == nil || sum.Checked != 1 || sum.Failed != 5 || len(r.api.Requests(luminapi.API))-asked != 6 {
		t.Errorf("%+v, %v after %d requests", sum, err, len(r.api.Requests(luminapi.API))-asked)
	}
	r.api.Each(luminapi.Status(http.StatusUnauthorized))
	sum, err = r.Run(t.Context(), time.Now())
	var refused *lumin.APIError
	if !errors.As(err, &refused) || refused.StatusCode != http.StatusUnauthorized || sum.Failed != 1 {
		t.Errorf("with a wrong key: %+v, %v", sum, err)
	}
	r.api.Each(luminapi.Fine())

	ctx, cancel := context.WithCancel(t.Context())
	r.api.Next(func(_ *luminapi.Server, w http.ResponseWriter, req *http.Request, next http.Handler) {
		cancel()
		next.ServeHTTP(w, req)
	})
	if _, err := r.Run(ctx, time.Now()); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
}

// A signature request that is erased during the request to Lumin stays erased.
func TestReconcileErased(t *testing.T) {
	t.Parallel()
	r := newReconciling(t)
	r.Repair = true
	r.recordEvent("id", `"status":"NEED_TO_SIGN"`)
	r.api.SetRequest("id", map[string]any{"status": "APPROVED", "title": "Ada's contract"})
	r.api.Next(func(_ *luminapi.Server, w http.ResponseWriter, req *http.Request, next http.Handler) {
		if _, err := r.Rig.Store.Pool().Exec(context.Background(), `DELETE FROM lumin.signature_requests`); err != nil {
			t.Error(err)
		}
		next.ServeHTTP(w, req)
	})
	r.run()
	if n := r.Count(t, `SELECT count(*) FROM lumin.signature_requests`); n != 0 {
		t.Errorf("%d rows", n)
	}
}

// Periodic work checks all signature requests in slices. Each slice begins
// where the previous one ended.
func TestReconcilePeriodic(t *testing.T) {
	t.Parallel()
	r := newReconciling(t)
	r.Repair = true
	for n := range 3 {
		id := fmt.Sprintf("id-%d", n)
		r.recordEvent(id, `"status":"NEED_TO_SIGN"`)
		r.api.SetRequest(id, map[string]any{"status": "WAITING_FOR_OTHERS"})
	}
	r.Sliced(time.Second)
	p := r.Periodic(time.Hour, slog.New(slog.DiscardHandler))
	r.api.Next(luminapi.Fine(), luminapi.Silent())
	var snooze *river.JobSnoozeError
	if err := p.Work(t.Context()); !errors.As(err, &snooze) {
		t.Errorf("a slice that was cut off: %v", err)
	}
	if err := p.Work(t.Context()); err != nil {
		t.Error(err)
	}
	if n := len(r.api.Requests(luminapi.API)); n != 4 { // one of them is repeated
		t.Errorf("%d requests, want 4", n)
	}
	if n := r.Count(t, `SELECT count(*) FROM lumin.signature_requests WHERE status = 'WAITING_FOR_OTHERS'`); n != 3 {
		t.Errorf("%d repaired, want 3", n)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := p.Work(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
}

// A slice ends when the next request would come after it. What was not requested is
// not marked as checked.
func TestReconcilePeriodicAtRate(t *testing.T) {
	t.Parallel()
	r := newReconciling(t)
	r.open(8)
	r.Rate = 2
	r.Sliced(1300 * time.Millisecond) // time for three requests
	p := r.Periodic(time.Hour, slog.New(slog.DiscardHandler))
	var snooze *river.JobSnoozeError
	if err := p.Work(t.Context()); !errors.As(err, &snooze) || snooze.Duration != 0 {
		t.Fatalf("a slice that was cut off: %v", err)
	}
	if n := r.Count(t, `SELECT count(*) FROM lumin.signature_requests WHERE checked_at IS NOT NULL`); n > len(r.api.Requests(luminapi.API)) {
		t.Errorf("%d are checked after %d requests", n, len(r.api.Requests(luminapi.API)))
	}
	r.api.Next(luminapi.Status(http.StatusTooManyRequests, "Retry-After", "600"))
	if err := p.Work(t.Context()); !errors.As(err, &snooze) || snooze.Duration != 10*time.Minute {
		t.Errorf("after 429: %v", err)
	}
}

// A malformed response concerns one signature request and does not stop the
// others.
func TestReconcileMalformedResponses(t *testing.T) {
	t.Parallel()
	r := newReconciling(t)
	r.Repair = true
	odd := []string{
		`{"signature_request":{}}`, `{"signature_request":{"status":""}}`, `{"signature_request":{"status":null,"title":7}}`,
		fmt.Sprintf(`{"signature_request":{"status":%q}}`, strings.Repeat("éx", 3000)),
		`{"signature_request":{"signature_request_id":"another","status":"APPROVED"}}`, `not JSON`, `[]`,
	}
	for n := range odd {
		r.recordEvent(fmt.Sprintf("id-%d", n), `"status":"NEED_TO_SIGN"`)
	}
	for range 6 {
		r.recordEvent("..", `"status":"NEED_TO_SIGN"`) // fits no path
	}
	r.recordEvent("zz", `"status":"NEED_TO_SIGN"`)
	r.api.SetRequest("zz", map[string]any{"status": "APPROVED"})
	for _, body := range odd {
		r.api.Next(luminapi.Answer("application/json", body))
	}
	if sum := r.run(); sum.Checked != 5 || sum.Failed != 4 || sum.Repaired != 1 {
		t.Errorf("%+v", sum)
	}
	if status, _ := r.status("zz"); status != "APPROVED" {
		t.Errorf("behind the odd ones: %s", status)
	}
	if n := r.Count(t, `SELECT count(*) FROM lumin.signature_requests WHERE status = 'NEED_TO_SIGN' AND checked_at IS NOT NULL`); n != len(odd)+1 {
		t.Errorf("%d of the others are checked and as they were, want %d", n, len(odd)+1)
	}
	for range 5 {
		r.api.Next(luminapi.Status(http.StatusTooManyRequests, "Retry-After", "1"))
	}
	var refused *lumin.APIError
	if _, err := r.Run(t.Context(), time.Now()); !errors.As(err, &refused) || refused.StatusCode != http.StatusTooManyRequests {
		t.Errorf("asked too often for ever: %v", err)
	}
}
