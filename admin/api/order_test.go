package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"lumin-ingest/admin/api"
	"lumin-ingest/internal/pgtest"
)

// fail makes every job in the queue fail for good.
func (r *rig) fail() {
	r.Helper()
	pgtest.Exec(r, r.store.Pool(), `
		UPDATE lumin.river_job SET state = 'discarded', attempt = 1, finalized_at = now(), errors = ARRAY[jsonb_build_object('error', 'no connection')]
		WHERE state = 'available' AND kind NOT LIKE 'lumin_%'`)
}

const replayFailed = `{"filter":{"status":"failed"},"reason":"fixed"}`

func TestRepeatedOrder(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.record(delivery(1, "greet"))
	r.fail()
	first := r.call("operate", http.MethodPost, "/replays", replayFailed, "Idempotency-Key", "one")
	again := r.call("operate", http.MethodPost, "/replays", replayFailed, "Idempotency-Key", "one")
	if first.status != http.StatusOK || again.status != http.StatusOK || first.body != again.body {
		t.Errorf("%d %s, then %d %s", first.status, first.body, again.status, again.body)
	}
	for name, test := range map[string]struct{ role, path, body, key, want string }{
		"another request":   {"operate", "/replays", `{"filter":{"status":"cancelled"}}`, "one", `"code":"key_reused"`},
		"another operation": {"operate", "/dismissals", `{"filter":{"job_kinds":["greet"]},"reason":"no"}`, "one", `"code":"key_reused"`},
		"another caller":    {"erase", "/replays", replayFailed, "one", `{"id":2}`},
	} {
		if a := r.call(test.role, http.MethodPost, test.path, test.body, "Idempotency-Key", test.key); !strings.Contains(a.body, test.want) {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	if n := pgtest.Value[int64](t, r.store.Pool(), `SELECT count(*) FROM lumin.replays`); n != 2 {
		t.Errorf("%d replays, want one of each caller", n)
	}
}

// Requests that arrive together make one order, and all get its answer.
func TestTwinOrders(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.record(delivery(1, "greet"))
	r.fail()
	answers := make([]answer, 8)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() {
			answers[i] = r.call("operate", http.MethodPost, "/replays", replayFailed, "Idempotency-Key", "twin")
		})
	}
	all.Wait()
	for i, a := range answers {
		if a.status != http.StatusOK || a.body != answers[0].body {
			t.Errorf("answer %d: %d %s", i, a.status, a.body)
		}
	}
	if n := pgtest.Value[int64](t, r.store.Pool(), `SELECT count(*) FROM lumin.replays`); n != 1 {
		t.Errorf("%d replays", n)
	}
}

// A program that ends after the order and before its answer leaves a claim. Once
// that has expired, the repeated order finds the replay that was ordered.
func TestOrderAfterCrash(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.record(delivery(1, "greet"))
	r.fail()
	first := r.call("operate", http.MethodPost, "/replays", replayFailed, "Idempotency-Key", "crash")
	pgtest.Exec(t, r.store.Pool(), `UPDATE lumin.api_orders SET answer = NULL, claimed_until = now()`)
	again := r.call("operate", http.MethodPost, "/replays", replayFailed, "Idempotency-Key", "crash")
	if again.status != http.StatusOK || first.body != again.body {
		t.Errorf("%s, then %d %s", first.body, again.status, again.body)
	}
	if n := pgtest.Value[int64](t, r.store.Pool(), `SELECT count(*) FROM lumin.replays`); n != 1 {
		t.Errorf("%d replays", n)
	}
}

// A cancellation whose answer was lost gets the same answer when it is sent again. The
// key belongs to one replay.
func TestRepeatedCancellation(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.record(delivery(1, "greet"))
	r.fail()
	for range 2 {
		if a := r.call("operate", http.MethodPost, "/replays", replayFailed); a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	for _, test := range []struct{ path, key, want string }{
		{"/replays/1/cancel", "one", `{"done":true}`},
		{"/replays/1/cancel", "one", `{"done":true}`},
		{"/replays/1/cancel", "two", `"code":"replay_ended"`},
		{"/replays/2/cancel", "one", `"code":"key_reused"`},
	} {
		if a := r.call("operate", http.MethodPost, test.path, `{"reason":"too early"}`, "Idempotency-Key", test.key); !strings.Contains(a.body, test.want) {
			t.Errorf("%s with the key %s: %d %s", test.path, test.key, a.status, a.body)
		}
	}
	if n := pgtest.Value[int64](t, r.store.Pool(), `SELECT count(*) FROM lumin.replays WHERE state <> 'cancelled'`); n != 1 {
		t.Errorf("%d replays are left", n)
	}
}

// An order that failed can be sent again with its key.
func TestRefusedOrderIsNotRemembered(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	skip := `{"queue":"slow"}`
	if a := r.call("operate", http.MethodPost, "/queues/pause", skip, "Idempotency-Key", "q"); a.status != http.StatusNotFound {
		t.Fatalf("%d %s", a.status, a.body)
	}
	pgtest.Exec(t, r.store.Pool(), `INSERT INTO lumin.river_queue (name, created_at, updated_at) VALUES ('slow', now(), now())`)
	if a := r.call("operate", http.MethodPost, "/queues/pause", skip, "Idempotency-Key", "q"); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestInternalQueuesAreNotPaused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, queue := range []string{"lumin", "lumin_periodic"} {
		a := r.call("operate", http.MethodPost, "/queues/pause", `{"queue":"`+queue+`"}`)
		if a.status != http.StatusConflict || !strings.Contains(a.body, `"code":"internal_queue"`) || !strings.Contains(a.body, "queue "+queue+" cannot be paused: ") {
			t.Errorf("pause %s: %d %s", queue, a.status, a.body)
		}
	}
}

// The database stores a rate as a number of four bytes.
func TestRateIsBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for rate, status := range map[string]int{"2147483647": http.StatusOK, "2147483648": http.StatusUnprocessableEntity} {
		if a := r.call("operate", http.MethodPost, "/replays", `{"filter":{"status":"failed"},"rate":`+rate+`}`); a.status != status {
			t.Errorf("a rate of %s: %d %s", rate, a.status, a.body)
		}
	}
}

func TestErasureIsOrderedOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.record(delivery(1, "greet"))
	plan := r.call("erase", http.MethodPost, "/erasures/plan", `{"email":"canary@example.com"}`)
	order := fmt.Sprintf(`{"plan":%s,"reason":"asked"}`, plan.body)
	first := r.call("erase", http.MethodPost, "/erasures", order, "Idempotency-Key", "e")
	pgtest.Exec(t, r.store.Pool(), `UPDATE lumin.api_orders SET answer = NULL, claimed_until = now()`)
	again := r.call("erase", http.MethodPost, "/erasures", order, "Idempotency-Key", "e")
	if first.status != http.StatusOK || first.body != again.body {
		t.Errorf("%d %s, then %d %s", first.status, first.body, again.status, again.body)
	}
	if a := r.call("erase", http.MethodPost, "/erasures/1/continue", ""); a.status != http.StatusOK || !strings.Contains(a.body, `"bodies":1`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := r.call("read", http.MethodGet, "/events/1/payload", ""); a.status != http.StatusGone || !strings.Contains(a.body, `"code":"payload_removed"`) {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// What an operator does with a failure: see it, plan, replay, cancel, dismiss, restore.
func TestFailureFlow(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.record(delivery(1, "greet"), delivery(2, "greet"))
	r.fail()
	groups := get[api.FailureGroups](r, "/failures")
	if len(groups.Groups) != 1 || groups.Groups[0].Runs != 2 || !groups.Exact {
		t.Fatalf("%+v", groups)
	}
	filter := fmt.Sprintf(`{"filter":{"job_kinds":["greet"],"error_fingerprints":[%q]}`, groups.Groups[0].Fingerprint)
	for _, step := range []struct{ path, body, want string }{
		{"/replays/plan", filter + `}`, `"total_runs":2,"exact":true`},
		{"/replays", filter + `,"reason":"fixed"}`, `{"id":1}`},
		{"/replays/1/cancel", `{"reason":"too early"}`, `{"done":true}`},
		{"/replays/1/cancel", `{}`, `"code":"replay_ended"`},
		{"/replays/9/cancel", `{}`, `"code":"no_such_record"`},
		{"/dismissals/plan", filter + `}`, `"total_runs":2`},
		{"/dismissals", filter + `}`, `"code":"no_reason"`},
		{"/dismissals", filter + `,"reason":"archived"}`, `{"changed":2,"more":false}`},
		{"/restorations/plan", filter + `}`, `"total_runs":2`},
		{"/restorations", filter + `}`, `{"changed":2,"more":false}`},
		{"/replays", `{"filter":{}}`, `"code":"invalid_request"`},
		{"/replays", `{"filter":{"status":"failed","job_kind":["greet"]}}`, `"location":"body.filter.job_kind"`},
		{"/dismissals", `{"filter":{"status":"succeeded","job_kinds":["greet"]},"reason":"x"}`, "only failed runs"},
		{"/runs/cancel", filter + `}`, "only retrying runs"},
	} {
		if a := r.call("operate/ann", http.MethodPost, step.path, step.body); !strings.Contains(a.body, step.want) {
			t.Errorf("%s %s: %d %s", step.path, step.body, a.status, a.body)
		}
	}
	if log := r.call("read", http.MethodGet, "/audit-log?action=dismiss", ""); !strings.Contains(log.body, `"via":"api","from_address":"192.0.2.1"`) || !strings.Contains(log.body, "operate/ann") {
		t.Errorf("audit log: %s", log.body)
	}
}

// An order with the as_of of a plan covers what the plan has counted.
func TestOrdersAsOf(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.record(delivery(1, "greet"), delivery(2, "greet"))
	r.fail()
	var plan struct {
		Runs int64  `json:"total_runs"`
		AsOf string `json:"as_of"`
	}
	send := func(path, body string, want ...string) answer {
		t.Helper()
		a := r.call("operate/ann", http.MethodPost, path, body)
		for _, text := range want {
			if !strings.Contains(a.body, text) {
				t.Errorf("%s %s: %d %s", path, body, a.status, a.body)
			}
		}
		return a
	}
	if a := send("/dismissals/plan", `{"filter":{"status":"failed"}}`); json.Unmarshal([]byte(a.body), &plan) != nil || plan.Runs != 2 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	r.record(delivery(3, "greet"))
	r.fail()
	filter := fmt.Sprintf(`{"filter":{"status":"failed","as_of":%q}`, plan.AsOf)
	send("/replays/plan", filter+`}`, `"total_runs":2`, `"as_of":"`+plan.AsOf+`"`)
	send("/replays", filter+`}`, `{"id":1}`)
	if a := r.call("read", http.MethodGet, "/replays/1", ""); !strings.Contains(a.body, `"as_of":"`+plan.AsOf+`"`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	send("/dismissals", filter+`,"reason":"archived"}`, `{"changed":2,"more":false}`)
	send("/dismissals", `{"filter":{"status":"failed","as_of":"2999-01-01T00:00:00Z"},"reason":"archived"}`, `{"changed":1,"more":false}`)
	send("/restorations", filter+`}`, `{"changed":0,"more":false}`)
	send("/restorations", `{"filter":{"job_kinds":["greet"]}}`, `{"changed":3,"more":false}`)
	send("/dismissals", `{"filter":{"status":"failed","as_of":"soon"},"reason":"x"}`, `"location":"body.filter.as_of"`)
}

func TestRetryFollowUpsAsOf(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	add := func(n int) {
		t.Helper()
		pgtest.Exec(r, r.store.Pool(), `INSERT INTO lumin.other_kinds (kind, purpose, queue) VALUES ('mail', 'follow_up', 'slow') ON CONFLICT DO NOTHING`)
		pgtest.Exec(r, r.store.Pool(), `
			INSERT INTO lumin.river_job (kind, args, max_attempts, queue, state, attempt, finalized_at)
			SELECT 'mail', '{}', 3, 'slow', 'discarded', 3, now() FROM generate_series(1, $1)`, n)
	}
	add(2)
	list := get[api.FollowUpList](r, "/follow-ups")
	add(1)
	for _, step := range []struct{ body, want string }{
		{fmt.Sprintf(`{"job_kinds":["mail"],"as_of":%q}`, list.AsOf.Format(time.RFC3339Nano)), `{"changed":2,"more":false}`},
		{`{"job_kinds":["mail"]}`, `{"changed":1,"more":false}`},
	} {
		if a := r.call("operate", http.MethodPost, "/follow-ups/retry", step.body); !strings.Contains(a.body, step.want) {
			t.Errorf("%s: %d %s, want %s", step.body, a.status, a.body, step.want)
		}
	}
}
