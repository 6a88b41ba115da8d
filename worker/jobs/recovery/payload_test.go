package recovery_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"lumin-ingest/lumin"
	"lumin-ingest/worker/jobs/recovery"
)

// The object of the answer is in the body byte for byte, and the body has the
// identity of the event. An object without an id gets one.
func TestPayload(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		id, object string
		kept, good bool
	}{
		{"a", `{"signature_request_id":"a"}`, true, true},
		{"a", "{ \"status\" : \"REJECTED\",\n\"signature_request_id\":\"\\u0061\", \"x\":1e400 }", true, true},
		{"a/b é", `{"signature_request_id":"a/b é","title":"\ud800","nested":{"signature_request_id":"other"}}`, true, true},
		{"a", `{}`, false, true},
		{"a", `{ }`, false, true},
		{`a"b\`, `{"status":"REJECTED"}`, false, true},
		{"a", `{"Signature_Request_ID":"b"}`, false, true},
		{"a", `{"signature_request_id":"b"}`, false, false},
		{"a", `{"signature_request_id":7}`, false, false},
		{"a", `{"signature_request_id":null}`, false, false},
		{"a", `{"signature_request_id":"a","signature_request_id":"a"}`, false, false},
	} {
		want := lumin.Envelope{SignatureRequestID: c.id, EventType: lumin.SignatureRequestDeclined, EventTime: time.UnixMilli(1694664207595).UTC()}
		body, err := recovery.Payload(want, []byte(c.object))
		if (err == nil) != c.good {
			t.Errorf("%s: %v", c.object, err)
		}
		if err != nil {
			continue
		}
		got, err := lumin.DecodeEnvelope(body)
		if err != nil || got != want || !json.Valid(body) {
			t.Errorf("%s: %+v, %v in %s", c.object, got, err, body)
		}
		if bytes.Contains(body, []byte(`"signature_request":`+c.object+`,`)) != c.kept {
			t.Errorf("%s: %s", c.object, body)
		}
		var from struct {
			Recovered struct{ At, By, API any }
		}
		if err := json.Unmarshal(body, &from); err != nil || from.Recovered.By != `ann "the operator"` || from.Recovered.At != 1.7e12 {
			t.Errorf("%s: %v, %v", body, from, err)
		}
	}
}
