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

// What an Event has where nothing is said.
const (
	defaultID    = "5f1d7c2e9b4a6038c1e5d2f7a8b9043c6e1f2d3b"
	defaultToken = "0123456789abcdef"
)

// defaultTime is when an Event happens where nothing is said.
func defaultTime() time.Time { return time.Date(2026, time.January, 15, 9, 30, 0, 0, time.UTC) }

// Event is one that Lumin reports. Its body has the documented shape: for an event
// that went wrong that is an id and a reason, and otherwise a signature request with
// a title and one signer, Ada Example. Fields that are zero get the value that is
// named here.
type Event struct {
	Type               lumin.EventType // documented or not; signature_request_approved
	SignatureRequestID string          // the same forty digits for all
	Title              string          // Sample agreement, where the shape has one
	Time               time.Time       // 15 January 2026, 9:30 UTC
	Source             string          // account

	// Payload is a whole body, instead of one made of the fields above but Source.
	Payload []byte
}

// Events are one of each documented type, and one of a type that is not documented
// although Lumin sends it.
func Events() []Event {
	var events []Event
	for _, t := range append(lumin.EventTypes(), "signature_request_sent") {
		events = append(events, Event{Type: t})
	}
	return events
}

// Body is the body of the event's delivery.
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
	return body
}

// withTitle gives the signature request of a body another title.
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

// must is for what cannot fail: bodies of our own making.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// source is where the event comes from.
func (e Event) source() string { return cmp.Or(e.Source, store.AccountSource) }

// delivery is what the ingest side makes of the event, once it has checked the
// signature. It ends the test if no job could be made for it.
func (e Event) delivery(t testing.TB) store.Delivery {
	t.Helper()
	body := e.Body()
	envelope, err := lumin.DecodeEnvelope(body)
	if err == nil {
		err = envelope.CheckTime()
	}
	if err != nil {
		t.Fatalf("the program would keep this event and have no job type work it: %v", err)
	}
	signature, err := hex.DecodeString(lumin.Sign(body, sample.AccountKey))
	must(err)
	return store.Delivery{
		Source: e.source(), Envelope: &envelope, Payload: body,
		Signature: signature, KeyID: lumin.KeyID(sample.AccountKey), ReceivedAt: time.Now(),
	}
}
