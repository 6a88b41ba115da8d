package recovery

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"lumin-ingest/lumin"
)

var errUnusable = errors.New("the answer of Lumin's API cannot be made into an event")

// origin says in a payload that its event was recovered.
type origin struct {
	At  int64  `json:"at"` // Unix time in milliseconds
	By  string `json:"by"`
	API string `json:"api"`
}

// payload returns the body of a recovered event: an envelope as in a delivery,
// with the object of the API's answer byte for byte. An object without an id gets
// one. The result decodes to the envelope, or the error is errUnusable.
func payload(e lumin.Envelope, object []byte, from origin) ([]byte, error) {
	id, err := json.Marshal(e.SignatureRequestID)
	if err != nil {
		return nil, err
	}
	about, err := json.Marshal(from)
	if err != nil {
		return nil, err
	}
	event := fmt.Appendf(nil, `{"event":{"event_time":%d,"event_type":%q},"signature_request":`, e.EventTime.UnixMilli(), string(e.EventType))
	body := join(event, object, about)
	if decodesTo(body, e) {
		return body, nil
	}
	if body = join(event, withID(object, id), about); decodesTo(body, e) {
		return body, nil
	}
	return nil, errUnusable
}

func join(event, object, about []byte) []byte {
	return bytes.Join([][]byte{event, object, []byte(`,"recovered":`), about, []byte(`}`)}, nil)
}

// withID returns a JSON object with the id as its first member.
func withID(object, id []byte) []byte {
	rest := bytes.TrimLeft(bytes.TrimPrefix(object, []byte("{")), " \t\r\n")
	comma := []byte(",")
	if bytes.HasPrefix(rest, []byte("}")) {
		comma = nil
	}
	return bytes.Join([][]byte{[]byte(`{"signature_request_id":`), id, comma, rest}, nil)
}

func decodesTo(body []byte, want lumin.Envelope) bool {
	got, err := lumin.DecodeEnvelope(body)
	return err == nil && got.SignatureRequestID == want.SignatureRequestID && got.EventType == want.EventType && got.EventTime.Equal(want.EventTime)
}

// envelopeOf returns the identity of a recovered event. Times of the API have
// whole milliseconds, and so has the envelope.
func envelopeOf(id string, t lumin.EventType, at time.Time) lumin.Envelope {
	return lumin.Envelope{SignatureRequestID: id, EventType: t, EventTime: at.UTC().Truncate(time.Millisecond)}
}
