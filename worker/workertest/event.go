package workertest

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"testing"
	"time"

	"lumin-ingest/internal/sample"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// Default values of an Event.
const (
	defaultID    = "5f1d7c2e9b4a6038c1e5d2f7a8b9043c6e1f2d3b"
	defaultToken = "0123456789abcdef"
)

// defaultTime is the default time of an Event.
func defaultTime() time.Time { return time.Date(2026, time.January, 15, 9, 30, 0, 0, time.UTC) }

// Event is an event that Lumin reports. Its body has the documented shape. The
// body of a failure event has an id and a reason. Every other body has a
// signature request with a title and one signer, Ada Example.
type Event struct {
	Type               lumin.EventType // documented or not; default: signature_request_approved
	SignatureRequestID string          // default: always the same forty digits
	Title              string          // default: Sample agreement, if the body has a title
	Time               time.Time       // default: 15 January 2026, 9:30 UTC
	Source             string          // default: account

	// Recovered makes it a recovered event: no webhook reported it. Its source is
	// "recovered", and Source is ignored.
	Recovered bool

	// Payload replaces the whole body. All other fields except Source and
	// Recovered are then ignored.
	Payload []byte
}

// Events returns one event of each documented type, and one of a type that
// Lumin sends but does not document.
func Events() []Event {
	var events []Event
	for _, t := range append(lumin.EventTypes(), "signature_request_sent") {
		events = append(events, Event{Type: t})
	}
	return events
}

// Body returns the body of the event's delivery.
func (e Event) Body() []byte {
	if e.Payload != nil {
		return e.Payload
	}
	at := e.Time
	if at.IsZero() {
		at = defaultTime()
	}
	body := sample.Delivery{
		EventType:          cmp.Or(e.Type, lumin.SignatureRequestApproved),
		SignatureRequestID: cmp.Or(e.SignatureRequestID, defaultID),
		At:                 at,
		Token:              defaultToken,
	}.Body()
	if e.Title != "" {
		body = withTitle(body, e.Title)
	}
	if e.Recovered {
		body = withMember(body, "recovered", encoded(map[string]any{"at": at.UnixMilli(), "by": "workertest", "api": lumin.APIURL}))
	}
	return body
}

// withMember adds a member to a body.
func withMember(body []byte, name string, value json.RawMessage) []byte {
	var whole map[string]json.RawMessage
	must(json.Unmarshal(body, &whole))
	whole[name] = value
	return encoded(whole)
}

// withTitle replaces the title of the signature request in a body.
func withTitle(body []byte, title string) []byte {
	var whole, request map[string]json.RawMessage
	must(json.Unmarshal(body, &whole))
	must(json.Unmarshal(whole["signature_request"], &request))
	request["title"] = encoded(title)
	whole["signature_request"] = encoded(request)
	return encoded(whole)
}

func encoded(value any) []byte {
	text, err := json.Marshal(value)
	must(err)
	return text
}

// must panics if the body of a sample, which this package makes, is invalid.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// source returns the event's source.
func (e Event) source() string {
	if e.Recovered {
		return store.RecoveredSource
	}
	return cmp.Or(e.Source, store.AccountSource)
}

// delivery returns the event as the ingest side hands it to the store, after it
// has verified the signature. It ends the test if the event is unrecognized,
// because no job could then be created for it.
func (e Event) delivery(t testing.TB) store.Delivery {
	t.Helper()
	body := e.Body()
	envelope, err := lumin.DecodeEnvelope(body)
	if err == nil {
		err = envelope.CheckTime()
	}
	if err != nil {
		t.Fatalf("the program would store this event but create no job for it: %v", err)
	}
	signature, err := hex.DecodeString(lumin.Sign(body, sample.AccountKey))
	must(err)
	if e.Recovered {
		return store.Delivery{
			Source: store.RecoveredSource, Envelope: &envelope, Payload: body, Signature: []byte{}, ReceivedAt: time.Now(),
		}
	}
	return store.Delivery{
		Source: e.source(), Envelope: &envelope, Payload: body,
		Signature: signature, KeyID: lumin.KeyID(sample.AccountKey), ReceivedAt: time.Now(),
	}
}
