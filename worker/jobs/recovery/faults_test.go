package recovery_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/riverqueue/river"

	"lumin-ingest/internal/luminapi"
	"lumin-ingest/lumin"
	"lumin-ingest/worker"
	"lumin-ingest/worker/jobs/reconcile"
	"lumin-ingest/worker/jobs/recovery"
)

// refusing answers requests for some paths with a status.
func refusing(status int, header []string, path ...string) luminapi.Fault {
	return func(s *luminapi.Server, w http.ResponseWriter, r *http.Request, next http.Handler) {
		if slices.ContainsFunc(path, func(p string) bool { return strings.HasSuffix(r.URL.Path, p) }) {
			luminapi.Status(status, header...)(s, w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	}
}

// requested lists the signature requests whose state was asked for.
func (r *rig) requested() (ids []string) {
	for _, request := range r.api.Requests(luminapi.API) {
		ids = append(ids, request.URI[strings.LastIndex(request.URI, "/")+1:])
	}
	return ids
}

// A key that is refused for single signature requests is none that is wrong, however
// many they are.
func TestRecoverRefused(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		r := newRig(t)
		var given recovery.Selection
		for n := range 9 {
			given.IDs = append(given.IDs, fmt.Sprintf("id-%d", n))
			r.at(given.IDs[n], lumin.StatusRejected, twoDaysAgo())
		}
		r.event(lumin.SignatureRequestViewed, "id-7", "", twoDaysAgo())
		r.api.Each(refusing(status, nil, "/id-0", "/id-2", "/id-3", "/id-4", "/id-5", "/id-6"))
		if sum := r.run(given); sum.Failed != 6 || sum.Recorded != 3 || !strings.Contains(sum.Cause, fmt.Sprintf(`"id-0": fetch the signature request from Lumin: Lumin's API answered %d`, status)) {
			t.Errorf("%+v", sum)
		}
		if got := r.effects(); got != "id-1 declined, id-7 declined, id-8 declined" {
			t.Error(got)
		}
		// A key that works for none ends the pass at once.
		r.api.Each(luminapi.Status(status))
		before := len(r.requested())
		var refused *lumin.APIError
		if _, err := r.Run(t.Context(), given, func(recovery.Finding) {}); !errors.As(err, &refused) || refused.StatusCode != status {
			t.Errorf("a wrong key: %v", err)
		}
		if n := len(r.requested()) - before; n > 4 {
			t.Errorf("%d requests with a wrong key", n)
		}
	}
}

// What is certain is recorded even if the question about the file ends the pass. Files
// that always fail are not asked for again and again.
func TestRecoverWithoutFiles(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var given recovery.Selection
	for n := range 7 {
		given.IDs = append(given.IDs, fmt.Sprintf("id-%d", n))
		r.at(given.IDs[n], lumin.StatusApproved, twoDaysAgo())
	}
	r.api.Each(refusing(http.StatusTooManyRequests, []string{"Retry-After", "3600"}, "/file"))
	var refused *lumin.APIError
	sum, err := r.Run(t.Context(), given, func(recovery.Finding) {})
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), "asks to wait 1h0m0s") || sum.Recorded != 1 || len(r.requested()) != 2 {
		t.Errorf("%+v, %v, %d requests", sum, err, len(r.requested()))
	}
	for _, status := range []int{http.StatusInternalServerError, http.StatusForbidden} {
		before := len(r.requested())
		r.api.Each(refusing(status, nil, "/file"))
		if sum := r.run(given); sum.Failed != 7 || sum.Checked != 0 {
			t.Errorf("%+v", sum)
		}
		if n := len(r.requested()) - before; n != 7+5 {
			t.Errorf("%d requests, want 7 for states and 5 for files", n)
		}
	}
	if got := r.effects(); strings.Count(got, "approved") != 7 || strings.Contains(got, "downloadable") {
		t.Error(got)
	}
}

// Two requests for one file keep to the rate.
func TestRecoverPacesFiles(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Rate = 4
	r.at("a", lumin.StatusApproved, twoDaysAgo())
	r.api.Only("application/pdf")
	var (
		mu sync.Mutex
		at []time.Time
	)
	r.api.Each(func(_ *luminapi.Server, w http.ResponseWriter, req *http.Request, next http.Handler) {
		mu.Lock()
		at = append(at, time.Now())
		mu.Unlock()
		next.ServeHTTP(w, req)
	})
	if sum := r.run(recovery.Selection{IDs: []string{"a"}}); sum.Recorded != 2 || len(at) != 3 {
		t.Fatalf("%+v after %d requests", sum, len(at))
	}
	if took := at[2].Sub(at[0]); took < 450*time.Millisecond {
		t.Errorf("three requests within %s at 4 a second", took)
	}
}

// An answer without a status proves nothing, not even that people still sign.
func TestRecoverWithoutStatus(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for id, members := range map[string]map[string]any{"a": {}, "b": {"status": ""}, "c": {"status": true}, "d": {"status": strings.Repeat("x", 300)}} {
		r.api.SetRequest(id, members)
	}
	sum := r.run(recovery.Selection{IDs: []string{"a", "b", "c", "d"}})
	if sum.Failed != 4 || sum.Open != 0 || sum.Others() != 0 || sum.Cause != `signature request "a": the answer has no status` {
		t.Errorf("%+v", sum)
	}
}

// workAll works until the pass has come to its end.
func workAll(t *testing.T, p worker.Periodic) (slices int) {
	t.Helper()
	for slices = 1; slices < 100; slices++ {
		var snooze *river.JobSnoozeError
		err := p.Work(t.Context())
		if err == nil {
			return slices
		}
		if !errors.As(err, &snooze) || snooze.Duration != 0 {
			t.Fatalf("slice %d ends with %v", slices, err)
		}
	}
	t.Fatal("the pass does not end")
	return 0
}

// A slice ends when the next request would come after it, and the next slice goes on.
func TestRecoverPeriodicAtRate(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for n := range 8 {
		r.at(fmt.Sprintf("id-%d", n), lumin.StatusRejected, twoDaysAgo())
		r.event(lumin.SignatureRequestCreated, fmt.Sprintf("id-%d", n), `"status":"NEED_TO_SIGN"`, twoDaysAgo().Add(-time.Hour))
	}
	r.WaitQuiet(t)
	r.Rate = 2
	r.Sliced(1300 * time.Millisecond) // time for three requests
	if n := workAll(t, r.Periodic(time.Hour, slog.New(slog.DiscardHandler))); n < 3 {
		t.Errorf("%d slices", n)
	}
	if got := r.effects(); strings.Count(got, "declined") != 8 {
		t.Error(got)
	}
}

// The periodic work waits as long as Lumin asks, or some minutes after failures, and
// then goes on where it stopped.
func TestRecoverPeriodicWaits(t *testing.T) {
	t.Parallel()
	failures := slices.Repeat([]luminapi.Fault{luminapi.Status(http.StatusInternalServerError)}, 5)
	for name, c := range map[string]struct {
		faults []luminapi.Fault
		wait   time.Duration
		next   string // after the wait
	}{
		"429":           {[]luminapi.Fault{luminapi.Fine(), luminapi.Status(429, "Retry-After", "600")}, 10 * time.Minute, "id-1"},
		"503":           {[]luminapi.Fault{luminapi.Fine(), luminapi.Status(503, "Retry-After", "7200")}, 2 * time.Hour, "id-1"},
		"five in a row": {append([]luminapi.Fault{luminapi.Fine()}, failures...), 5 * time.Minute, "id-5"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			for n := range 7 {
				r.at(fmt.Sprintf("id-%d", n), lumin.StatusWaitingForOthers, twoDaysAgo())
				r.event(lumin.SignatureRequestCreated, fmt.Sprintf("id-%d", n), `"status":"NEED_TO_SIGN"`, twoDaysAgo())
			}
			r.WaitQuiet(t)
			now := time.Now()
			r.Clock(func() time.Time { return now })
			p := r.Periodic(20*time.Minute, slog.New(slog.DiscardHandler))
			r.api.Next(c.faults...)
			var snooze *river.JobSnoozeError
			if err := p.Work(t.Context()); !errors.As(err, &snooze) || snooze.Duration != c.wait {
				t.Fatalf("it ends with %v", err)
			}
			before := len(r.requested())
			now = now.Add(c.wait)
			if err := p.Work(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := r.requested()[before:]; got[0] != c.next || got[len(got)-1] != "id-6" {
				t.Errorf("then it asks about %v", got)
			}
		})
	}
}

// A short wait is part of the slice, also after a 503.
func TestRecoverWaits(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.at("a", lumin.StatusRejected, twoDaysAgo())
	r.api.Next(luminapi.Status(http.StatusServiceUnavailable, "Retry-After", "1"))
	if sum := r.run(recovery.Selection{IDs: []string{"a"}}); sum.Recorded != 1 || sum.Failed != 0 {
		t.Errorf("%+v", sum)
	}
}

// A pass comes further even where nothing is to be asked.
func TestRecoverProgress(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if _, err := r.Pool.Exec(t.Context(), `
		INSERT INTO lumin.signature_requests (signature_request_id, status, gone_at)
		SELECT 'gone-' || lpad(n::text, 5, '0'), 'NEED_TO_SIGN', now() FROM generate_series(1, 2500) n UNION ALL VALUES ('a', 'NEED_TO_SIGN', NULL::timestamptz)`); err != nil {
		t.Fatal(err)
	}
	r.at("a", lumin.StatusNeedToSign, twoDaysAgo())
	r.Listed(1)
	var last []string
	r.Progress = func(p recovery.Progress) {
		if n := len(last); p.Last != "" && (n == 0 || last[n-1] != p.Last) {
			last = append(last, p.Last)
		}
	}
	r.run(recovery.Selection{})
	if len(last) == 0 || last[len(last)-1] != "gone-01999" { // the window has 2000 rows, with a
		t.Errorf("progress %v", last)
	}
}

// Differences that are not repaired are a warning in the summary, in either pass.
func TestRecoverPeriodicWarns(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.at("a", lumin.StatusWaitingForOthers, twoDaysAgo())
	r.event(lumin.SignatureRequestCreated, "a", `"status":"NEED_TO_SIGN"`, twoDaysAgo())
	r.WaitQuiet(t)
	r.Reconcile = &reconcile.Reconciler{Store: r.Rig.Store, Lumin: r.api.Client(), Report: func(reconcile.Difference) {}}
	var text strings.Builder
	if err := r.Periodic(time.Hour, slog.New(slog.NewTextHandler(&text, nil))).Work(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), `level=WARN msg="reconciled with Lumin" checked=1 differ=1 repaired=0`) {
		t.Error(text.String())
	}
}
