package api_test

import (
	"net/http"
	"strings"
	"testing"
)

func TestDecideConflict(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.record(delivery(1, "greet"))
	other := delivery(1, "greet")
	other.Payload = []byte(strings.ReplaceAll(string(other.Payload), "Canary Title", "another title"))
	r.record(other)
	body := bodyOfConflict(r)
	if a := r.call("read", http.MethodGet, "/conflicts/signers?event_id=1&body="+body, ""); a.status != http.StatusOK || !strings.Contains(a.body, `"worked_event_id":1`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	for _, step := range []struct{ path, body, want string }{
		{"/conflicts/signers/reveal", `{"event_id":1,"body":"` + body + `"}`, `"worked_event_id":1`},
		{"/conflicts/decide", `{"event_id":1,"body":"00","decision":"dismiss","reason":"x"}`, `"code":"no_such_record"`},
		{"/conflicts/decide", `{"event_id":1,"body":"` + body + `","decision":"dismiss","reason":""}`, `"code":"no_reason"`},
		{"/conflicts/decide", `{"event_id":1,"body":"` + body + `","decision":"dismiss","reason":"a new title"}`, `{"promoted_id":null}`},
		{"/conflicts/decide", `{"event_id":1,"body":"` + body + `","decision":"promote","reason":"two"}`, `{"promoted_id":2}`},
		{"/conflicts/decide", `{"event_id":1,"body":"` + body + `","decision":"dismiss","reason":"x"}`, `"code":"decision_refused"`},
	} {
		if a := r.call("operate", http.MethodPost, step.path, step.body); !strings.Contains(a.body, step.want) {
			t.Errorf("%s: %d %s, want %s", step.body, a.status, a.body, step.want)
		}
	}
}
