package forward_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"lumin-ingest/internal/wait"
	"lumin-ingest/lumin"
	"lumin-ingest/worker"
	"lumin-ingest/worker/jobs/forward"
	"lumin-ingest/worker/jobs/internal/jobtest"
)

// A job is not snoozed once its event is a day old.
func TestForwardSnoozesForADay(t *testing.T) {
	t.Parallel()
	for _, code := range []int{429, 503} {
		to := newReceiver(t, status(code))
		f := newForward(t, target("crm", to.URL))
		e := forwardedEvent()
		f.At(e.ReceivedAt.Add(24 * time.Hour))
		if got := jobtest.Outcome(f.Work(context.Background(), e)); got != "1m0s" {
			t.Errorf("%d after a day: %s", code, got)
		}
		f.At(e.ReceivedAt.Add(24*time.Hour + 1))
		if got := jobtest.Outcome(f.Work(context.Background(), e)); got != "retried" {
			t.Errorf("%d after more than a day: %s", code, got)
		}
	}
}

// quick is a job type with a short backoff and, if set, a short timeout.
type quick struct {
	*forward.JobType
	timeout  time.Duration
	attempts int
}

func (quick) Backoff(int) time.Duration { return time.Millisecond }

func (q quick) MaxAttempts() int {
	if q.attempts > 0 {
		return q.attempts
	}
	return q.JobType.MaxAttempts()
}

func (q quick) Timeout() time.Duration {
	if q.timeout > 0 {
		return q.timeout
	}
	return q.JobType.Timeout()
}

// newForwardRig runs job types on a database of its own.
func newForwardRig(t *testing.T, types ...worker.Plain) *jobtest.Rig {
	t.Helper()
	registry := worker.NewRegistry()
	for _, jobType := range types {
		registry.Add(jobType)
	}
	return jobtest.New(t, jobtest.Pool(t), registry, slog.LevelError+1, 2)
}

// deliver records a body like a delivery from Lumin.
func deliver(t *testing.T, r *jobtest.Rig, payload []byte) {
	t.Helper()
	keyring, err := lumin.NewKeyring(forwardAccountKey)
	if err != nil {
		t.Fatal(err)
	}
	header := http.Header{}
	header.Set(lumin.SignatureHeader, lumin.Sign(payload, forwardAccountKey))
	match, err := keyring.Verify(payload, header)
	if err != nil {
		t.Fatal(err)
	}
	r.RecordSigned(t, payload, match)
}

// waitRun waits until a run is in this state and returns its attempts and
// error.
func waitRun(t *testing.T, r *jobtest.Rig, kind, state string) (attempts int, problem string) {
	t.Helper()
	const runSQL = `SELECT state, attempts, coalesce(error, '') FROM lumin.runs WHERE job_kind = $1`
	var got string
	reached := wait.For(wait.Limit, func() bool {
		if err := r.Pool.QueryRow(context.Background(), runSQL, kind).Scan(&got, &attempts, &problem); err != nil {
			t.Fatal(err)
		}
		return got == state
	})
	if !reached {
		t.Fatalf("run of %s is %s after %d attempts, not %s: %s", kind, got, attempts, state, problem)
	}
	noLeak(t, problem)
	return attempts, problem
}

// Spacing, escapes and the final line break must arrive unchanged.
const deliveredBody = "{\"event\": { \"event_time\": 1694664207595, \"event_type\": \"signature_request_sent\" },\n" +
	" \"signature_request\": { \"signature_request_id\": \"r-1\", \"title\": \"\\u00e9 é <b>\" } }\r\n"

// The bytes that Lumin signed arrive, and both signatures are valid. A second
// attempt has the same webhook-id.
func TestForwardDelivers(t *testing.T) {
	t.Parallel()
	to := newReceiver(t, func(w http.ResponseWriter, r *http.Request, n int) {
		if n < 3 {
			status(500)(w, r, n)
		}
	})
	r := newForwardRig(t, quick{JobType: newForward(t, target("crm", to.URL))})
	deliver(t, r, []byte(deliveredBody))
	if attempts, _ := waitRun(t, r, "forward_crm", "succeeded"); attempts != 3 {
		t.Errorf("%d attempts, want 3", attempts)
	}
	keyring, _ := lumin.NewKeyring(forwardAccountKey)
	ids := map[string]bool{}
	for _, got := range to.requests() {
		ids[got.header.Get("Webhook-Id")] = true
		if string(got.body) != deliveredBody {
			t.Errorf("body %q", got.body)
		}
		if !got.verifies(t, forwardSecret("a", 32)) {
			t.Error("not verified by the library")
		}
		if _, err := keyring.Verify(got.body, got.header); err != nil {
			t.Error(err)
		}
	}
	if len(ids) != 1 || ids[""] {
		t.Errorf("webhook-ids %v, want one", ids)
	}
}

// Each target has its own webhook-id, because each must process the event once.
func TestForwardTwoTargets(t *testing.T) {
	t.Parallel()
	one, two := newReceiver(t, status(200)), newReceiver(t, status(200))
	r := newForwardRig(t, newForward(t, target("one", one.URL)), newForward(t, target("two", two.URL)))
	deliver(t, r, []byte(deliveredBody))
	waitRun(t, r, "forward_one", "succeeded")
	waitRun(t, r, "forward_two", "succeeded")
	if a, b := one.requests(), two.requests(); len(a) != 1 || len(b) != 1 || a[0].header.Get("Webhook-Id") == b[0].header.Get("Webhook-Id") {
		t.Errorf("got %v and %v", a, b)
	}
}

func TestForwardEnds(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		answer   int
		state    string
		attempts int
	}{
		{410, "cancelled", 1},
		{400, "failed", 1},
		{502, "failed", 3},
		{308, "failed", 3},
	} {
		t.Run(fmt.Sprint(test.answer), func(t *testing.T) {
			t.Parallel()
			elsewhere := newReceiver(t, status(200))
			to := newReceiver(t, status(test.answer, "Location", elsewhere.URL))
			r := newForwardRig(t, quick{JobType: newForward(t, target("crm", to.URL)), attempts: 3})
			deliver(t, r, []byte(deliveredBody))
			_, problem := waitRun(t, r, "forward_crm", test.state)
			if !strings.Contains(problem, fmt.Sprint(test.answer)) {
				t.Errorf("error %q", problem)
			}
			if n := len(to.requests()); n != test.attempts {
				t.Errorf("%d requests, want %d", n, test.attempts)
			}
			if n := len(elsewhere.requests()); n != 0 {
				t.Error("the redirect was followed")
			}
		})
	}
}

// A target can ask for a pause, which uses no attempt.
func TestForwardSnoozes(t *testing.T) {
	t.Parallel()
	var first, second time.Time
	to := newReceiver(t, func(w http.ResponseWriter, r *http.Request, n int) {
		if n == 1 {
			first = time.Now()
			status(429, "Retry-After", "2")(w, r, n) // longer than until River looks again anyway
			return
		}
		second = time.Now()
	})
	r := newForwardRig(t, quick{JobType: newForward(t, target("crm", to.URL)), attempts: 1})
	deliver(t, r, []byte(deliveredBody))
	if attempts, _ := waitRun(t, r, "forward_crm", "succeeded"); attempts != 1 {
		t.Errorf("%d attempts", attempts)
	}
	if got := to.requests(); len(got) != 2 || second.Sub(first) < 1900*time.Millisecond ||
		got[0].header.Get("Webhook-Id") != got[1].header.Get("Webhook-Id") {
		t.Errorf("%d requests, %s apart", len(got), second.Sub(first))
	}
}

// A target that does not answer uses no workers of another target.
func TestForwardHanging(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	slow := newReceiver(t, func(_ http.ResponseWriter, r *http.Request, _ int) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	t.Cleanup(func() { close(release) })
	fast := newReceiver(t, status(200))
	r := newForwardRig(t,
		quick{JobType: newForward(t, target("slow", slow.URL)), timeout: time.Second, attempts: 1},
		newForward(t, target("fast", fast.URL)))
	const events = 8 // more than there are workers in a queue
	for n := range events {
		deliver(t, r, fmt.Appendf(nil, `{"event":{"event_time":7,"event_type":"t"},"signature_request":{"signature_request_id":"%d"}}`, n))
	}
	if !wait.For(wait.Limit, func() bool { return len(fast.requests()) >= events }) {
		t.Fatalf("%d of %d events have got through", len(fast.requests()), events)
	}
	if n := r.Count(t, `SELECT count(*) FROM lumin.runs WHERE job_kind = 'forward_slow' AND state <> 'pending'`); n == events {
		t.Error("the fast target had to wait for the slow one")
	}
	if _, problem := waitRun(t, r, "forward_slow", "failed"); !strings.Contains(problem, "no response in time") {
		t.Errorf("error %q", problem)
	}
}
