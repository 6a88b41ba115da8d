package recovery_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river"

	"lumin-ingest/internal/luminapi"
	"lumin-ingest/lumin"
	"lumin-ingest/worker/jobs/reconcile"
	"lumin-ingest/worker/jobs/recovery"
)

// Several programs that recover at once record each event once.
func TestRecoverAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var given recovery.Selection
	for n := range 30 {
		given.IDs = append(given.IDs, fmt.Sprintf("id-%02d", n))
		r.at(given.IDs[n], lumin.StatusRejected, twoDaysAgo())
	}
	var (
		runs     sync.WaitGroup
		recorded atomic.Int64
	)
	for range 3 {
		runs.Go(func() {
			sum, err := r.Run(t.Context(), given, func(recovery.Finding) {})
			if err != nil || sum.Checked != 30 || sum.Recorded+sum.Stored != 30 {
				t.Errorf("%+v, %v", sum, err)
			}
			recorded.Add(int64(sum.Recorded))
		})
	}
	runs.Wait()
	if n := recorded.Load(); n != 30 || strings.Count(r.effects(), "declined") != 30 {
		t.Errorf("%d are recorded: %s", n, r.effects())
	}
}

// Periodic work goes on where its last slice stopped, and begins anew at the next
// time. Together with reconcile, it asks once.
func TestRecoverPeriodic(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ago := twoDaysAgo()
	for _, id := range []string{"a", "b", "c", "d"} {
		r.at(id, lumin.StatusRejected, ago)
		r.event(lumin.SignatureRequestCreated, id, `"status":"NEED_TO_SIGN"`, ago.Add(-time.Hour))
	}
	r.api.SetRequest("c", nil)
	r.api.SetRequest("d", map[string]any{"status": "WAITING_FOR_OTHERS"})
	r.WaitQuiet(t)
	r.Reconcile = &reconcile.Reconciler{Store: r.Rig.Store, Lumin: r.api.Client(), Repair: true}
	r.Sliced(2 * time.Second)
	p := r.Periodic(time.Hour, slog.New(slog.DiscardHandler))
	r.api.Next(luminapi.Fine(), luminapi.Silent())
	var snooze *river.JobSnoozeError
	if err := p.Work(t.Context()); !errors.As(err, &snooze) {
		t.Errorf("a slice that was cut off: %v", err)
	}
	if err := p.Work(t.Context()); err != nil {
		t.Error(err)
	}
	if n := len(r.api.Requests(luminapi.API)); n != 5 { // one of them is repeated
		t.Errorf("%d requests, want 5", n)
	}
	if got := r.effects(); got != "a declined, b declined" {
		t.Error(got)
	}
	const states = `SELECT count(*) FROM lumin.signature_requests WHERE checked_at IS NOT NULL AND
		(signature_request_id, status, gone_at IS NOT NULL) IN (('a', 'REJECTED', false), ('b', 'REJECTED', false), ('c', 'NEED_TO_SIGN', true), ('d', 'WAITING_FOR_OTHERS', false))`
	if n := r.Count(t, states); n != 4 {
		t.Errorf("%d states are reconciled, want 4", n)
	}
	if err := p.Work(t.Context()); err != nil || len(r.api.Requests(luminapi.API)) != 6 { // d is open
		t.Errorf("the next pass: %v, %d requests", err, len(r.api.Requests(luminapi.API)))
	}
}

// If another program has finished the pass, the next one begins at its beginning.
func TestRecoverPeriodicElsewhere(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, id := range []string{"a", "b"} {
		r.at(id, lumin.StatusWaitingForOthers, twoDaysAgo())
		r.event(lumin.SignatureRequestCreated, id, `"status":"NEED_TO_SIGN"`, twoDaysAgo())
	}
	r.WaitQuiet(t)
	r.Sliced(time.Second)
	now := time.Now()
	r.Clock(func() time.Time { return now })
	one := r.Periodic(time.Second, slog.New(slog.DiscardHandler))
	other := r.Periodic(time.Second, slog.New(slog.DiscardHandler))
	r.api.Next(luminapi.Fine(), luminapi.Silent())
	var snooze *river.JobSnoozeError
	if err := one.Work(t.Context()); !errors.As(err, &snooze) {
		t.Fatalf("a slice that was cut off: %v", err)
	}
	if err := other.Work(t.Context()); err != nil {
		t.Fatal(err)
	}
	now = now.Add(3 * time.Second) // longer than two slices
	before := len(r.api.Requests(luminapi.API))
	if err := one.Work(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(r.api.Requests(luminapi.API)) - before; n != 2 {
		t.Errorf("the next pass asks about %d signature requests, want both", n)
	}
}
