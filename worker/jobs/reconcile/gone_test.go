package reconcile_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"lumin-ingest/internal/luminapi"
	"lumin-ingest/internal/wait"
	"lumin-ingest/lumin"
	"lumin-ingest/worker/jobs/internal/jobtest"
	"lumin-ingest/worker/jobs/reconcile"
)

// If Lumin knows no signature request at all, the key or the URL may be wrong.
// Nothing is recorded as gone unless Gone is set, however few there are.
func TestReconcileAllUnknown(t *testing.T) {
	t.Parallel()
	r := newReconciling(t)
	gone := func() int {
		return r.Count(t, `SELECT count(*) FROM lumin.signature_requests WHERE gone_at IS NOT NULL`)
	}
	wantNoneGone := func(unknown int) {
		t.Helper()
		sum, err := r.Run(t.Context(), time.Now())
		if !errors.Is(err, reconcile.ErrAllUnknown) || sum.Unknown != unknown || sum.Gone != 0 || sum.Settled() || gone() != 0 {
			t.Errorf("%+v, %v, %d noted", sum, err, gone())
		}
	}
	r.recordEvent("id-00", `"status":"NEED_TO_SIGN"`)
	wantNoneGone(1)
	r.recordEvent("finished", `"status":"APPROVED"`)
	wantNoneGone(1)
	for n := 1; n < 22; n++ {
		r.recordEvent(fmt.Sprintf("id-%02d", n), `"status":"NEED_TO_SIGN"`)
	}
	wantNoneGone(20)
	// The next pass begins with the others. Lumin knows one of them.
	r.api.SetRequest("id-21", map[string]any{"status": "NEED_TO_SIGN"})
	if sum := r.run(); sum.Gone != 21 || !sum.Settled() || gone() != 21 {
		t.Errorf("%+v, %d noted", sum, gone())
	}
	// A finished signature request also proves that the key is right.
	r.api.SetRequest("id-21", nil)
	r.api.SetRequest("finished", map[string]any{"status": "APPROVED"})
	if sum := r.run(); sum.Gone != 1 || !sum.Settled() || gone() != 22 {
		t.Errorf("a single one: %+v, %d noted", sum, gone())
	}
	r.api.SetRequest("finished", nil)
	if _, err := r.Rig.Store.Pool().Exec(t.Context(), `UPDATE lumin.signature_requests SET gone_at = NULL`); err != nil {
		t.Fatal(err)
	}
	r.Gone = true
	if sum := r.run(); sum.Gone != 22 || gone() != 22 {
		t.Errorf("on demand: %+v, %d noted", sum, gone())
	}
}

// An event that arrives after Lumin's response shows that the signature request
// exists.
func TestReconcileGoneAndBack(t *testing.T) {
	t.Parallel()
	r := newReconciling(t)
	r.recordEvent("back", `"status":"NEED_TO_SIGN"`)
	r.recordEvent("known", `"status":"NEED_TO_SIGN"`)
	r.api.SetRequest("known", map[string]any{"status": "WAITING_FOR_OTHERS"})
	// An event can arrive between the responses for the two.
	r.api.Next(luminapi.Status(http.StatusNotFound), luminapi.Status(http.StatusTooManyRequests, "Retry-After", "3"))
	type outcome struct {
		sum reconcile.Summary
		err error
	}
	over := make(chan outcome, 1)
	go func() {
		sum, err := r.Run(t.Context(), time.Now())
		over <- outcome{sum, err}
	}()
	wait.Until(t, "Lumin is asked twice", func() bool { return len(r.api.Requests(luminapi.API)) >= 2 })
	r.Record(t, jobtest.Payload(time.Now().UnixMilli(), lumin.SignatureRequestViewed, "back", `"title":"new"`))
	r.WaitQuiet(t)
	done := <-over
	if n := r.Count(t, `SELECT count(*) FROM lumin.signature_requests WHERE gone_at IS NOT NULL`); done.err != nil || n != 0 || done.sum.Gone != 0 {
		t.Errorf("%+v, %v, %d noted", done.sum, done.err, n)
	}
}
