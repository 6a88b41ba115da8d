package ingest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"lumin-ingest/internal/measure"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

func TestFreshness(t *testing.T) {
	t.Parallel()
	const max, ahead = 48 * time.Hour, 10 * time.Minute
	for _, test := range []struct {
		name   string
		age    time.Duration // of the event when it arrives
		maxAge time.Duration
		code   string // "": recorded
	}{
		{"new", 0, max, ""},
		{"just young enough", max - time.Millisecond, max, ""},
		{"at the limit", max, max, ""},
		{"just too old", max + time.Millisecond, max, "timestamp_expired"},
		{"at the minimum limit", MinEventAge, MinEventAge, ""},
		{"above the minimum limit", MinEventAge + time.Millisecond, MinEventAge, "timestamp_expired"},
		{"years old", 10 * 365 * 24 * time.Hour, max, "timestamp_expired"},
		{"years old and no limit", 10 * 365 * 24 * time.Hour, 0, ""},
		{"just early enough", -ahead + time.Millisecond, max, ""},
		{"as early as allowed", -ahead, max, ""},
		{"just too early", -ahead - time.Millisecond, max, "timestamp_in_future"},
		{"just too early and no limit", -ahead - time.Millisecond, 0, "timestamp_in_future"},
		{"too early by 290 years", -290 * 365 * 24 * time.Hour, 0, "timestamp_in_future"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, func(cfg *Config) { cfg.MaxEventAge = test.maxAge })
			r.setClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
			response := r.postAccount(bodyAt(r.now().Add(-test.age)))
			if test.code == "" {
				wantReceipt(t, response, `{"id":17,"status":"recorded"}`)
				return
			}
			wantProblem(t, response.Result(), 400, test.code)
			if r.deliveries() != nil || r.routed != nil {
				t.Error("recorded or routed")
			}
			if got := r.metric("lumin_deliveries_total", "source=account", "result=refused", "reason="+test.code); got != 1 {
				t.Errorf("counted %v", got)
			}
			if line := r.output.only(t); line["event_type"] != "signature_request_signed" || line["key_id"] != lumin.KeyID(accountKey) {
				t.Errorf("logged %v", line)
			}
		})
	}
}

// With StoreLate, an event that is too old is recorded as late and without jobs,
// up to the millisecond. Others are treated as without it.
func TestStoreLate(t *testing.T) {
	t.Parallel()
	const max, ahead = 48 * time.Hour, 10 * time.Minute
	for _, test := range []struct {
		name   string
		age    time.Duration // of the event when it arrives
		maxAge time.Duration
		want   store.Status // "": refused
	}{
		{"new", 0, max, store.Recorded},
		{"at the limit", max, max, store.Recorded},
		{"just too old", max + time.Millisecond, max, store.Late},
		{"years old", 10 * 365 * 24 * time.Hour, max, store.Late},
		{"years old and no limit", 10 * 365 * 24 * time.Hour, 0, store.Recorded},
		{"from the future", -ahead - time.Millisecond, max, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, func(cfg *Config) { cfg.MaxEventAge, cfg.StoreLate = test.maxAge, true })
			r.record = func(_ context.Context, d store.Delivery) (store.Receipt, error) {
				if d.Late {
					return store.Receipt{EventID: 17, Status: store.Late}, nil
				}
				return store.Receipt{EventID: 17, Status: store.Recorded}, nil
			}
			r.setClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
			response := r.postAccount(bodyAt(r.now().Add(-test.age)))
			if test.want == "" {
				wantProblem(t, response.Result(), 400, "timestamp_in_future")
				return
			}
			wantReceipt(t, response, `{"id":17,"status":"`+string(test.want)+`"}`)
			late := test.want == store.Late
			if got := r.deliveries(); len(got) != 1 || got[0].Late != late || (len(got[0].Jobs) == 0) != late || got[0].Envelope == nil {
				t.Errorf("recorded %+v", got)
			}
			if got := r.metric("lumin_deliveries_total", "source=account", "result="+string(test.want), "reason="); got != 1 {
				t.Errorf("counted %v", got)
			}
			if line := r.output.only(t); line["result"] != string(test.want) || line["event_type"] != "signature_request_signed" || line["level"] != "INFO" {
				t.Errorf("logged %v", line)
			}
		})
	}
}

// StoreLate does not make a forged delivery acceptable.
func TestStoreLateVerifies(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(cfg *Config) { cfg.StoreLate = true })
	body := bodyAt(r.now().Add(-1000 * time.Hour))
	wantProblem(t, r.post("/webhooks/account", body, lumin.Sign([]byte(body), "another_key_of_16")).Result(), 401, "signature_mismatch")
	if r.deliveries() != nil {
		t.Error("recorded")
	}
}

// An authentic event with an implausible time is stored. If it were refused, it
// would be lost when Lumin gives up.
func TestImplausibleTime(t *testing.T) {
	t.Parallel()
	for eventTime, reason := range map[string]string{
		"1694664207":       "event_time is in seconds",
		"1420070399999":    "event_time is before 2015",
		"1694664207595000": "event_time is out of range",
	} {
		for _, maxAge := range []time.Duration{48 * time.Hour, 0} {
			t.Run(fmt.Sprintf("%s, %v", eventTime, maxAge), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, func(cfg *Config) { cfg.MaxEventAge = maxAge })
				if w := r.postAccount(strings.Replace(bodyAt(time.UnixMilli(1)), `"event_time":1,`, `"event_time":`+eventTime+`,`, 1)); w.Code != 200 {
					t.Fatalf("answered %d %s", w.Code, w.Body)
				}
				if got := r.deliveries(); len(got) != 1 || got[0].Envelope != nil || got[0].Jobs != nil || r.routed != nil {
					t.Errorf("recorded %+v, routed %v", got, r.routed)
				}
				if line := r.output.only(t); line["reason"] != reason {
					t.Errorf("logged %v", line)
				}
			})
		}
	}
}

// Lumin's last retry is accepted like its first attempt, even if each failed
// attempt took another 30 s.
func TestEveryRetryIsFreshEnough(t *testing.T) {
	t.Parallel()
	for _, maxAge := range []time.Duration{48 * time.Hour, MinEventAge, 0} {
		for _, answerDelay := range []time.Duration{0, 30 * time.Second} {
			t.Run(fmt.Sprintf("%v, %v", maxAge, answerDelay), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, func(cfg *Config) { cfg.MaxEventAge = maxAge })
				r.setClock(documentedTime)
				attempts := 1
				wantReceipt(t, r.postAccount(documentedBody), `{"id":17,"status":"recorded"}`)
				for _, delay := range lumin.RetryDelays() {
					r.setClock(r.now().Add(answerDelay + delay))
					wantReceipt(t, r.postAccount(documentedBody), `{"id":17,"status":"recorded"}`)
					attempts++
				}
				if attempts != 7 || r.now().Sub(documentedTime) < lumin.RetryWindow {
					t.Errorf("%d attempts in %v", attempts, r.now().Sub(documentedTime))
				}
			})
		}
	}
}

// Events of random times are accepted in each of Lumin's attempts, and up to the
// limits of their age, to the millisecond. LUMIN_TEST_RETRIES is their number.
func TestRetriesOfManyEvents(t *testing.T) {
	t.Parallel()
	const ahead = 10 * time.Minute
	r := newRig(t, func(cfg *Config) { cfg.MaxEventAge = MinEventAge })
	random := measure.Rand(t)
	events, attempts, accepted := measure.Size(t, "LUMIN_TEST_RETRIES", 50), 0, 0
	post := func(body string, at time.Time, code string) {
		attempts++
		r.setClock(at)
		response := r.postAccount(body)
		if code == "" {
			wantReceipt(t, response, `{"id":17,"status":"recorded"}`)
			accepted++
		} else {
			wantProblem(t, response.Result(), 400, code)
		}
	}
	for range events {
		at := time.UnixMilli(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli() + random.Int64N(10*365*24*3600*1000)).UTC()
		body, now := bodyAt(at), at
		post(body, now, "")
		for _, delay := range lumin.RetryDelays() {
			now = now.Add(delay + time.Duration(random.Int64N(int64(30*time.Second))))
			post(body, now, "")
		}
		post(body, at.Add(MinEventAge), "")
		post(body, at.Add(MinEventAge+time.Millisecond), "timestamp_expired")
		post(body, at.Add(-ahead), "")
		post(body, at.Add(-ahead-time.Millisecond), "timestamp_in_future")
	}
	if t.Failed() {
		return
	}
	measure.Log(t, "events", float64(events), "")
	measure.Log(t, "attempts", float64(attempts), "")
	measure.Log(t, "accepted", float64(accepted), "")
	measure.Log(t, "refused, a millisecond beyond a limit", float64(attempts-accepted), "")
}
