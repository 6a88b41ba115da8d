package lumin_test

import (
	"strings"
	"testing"

	"lumin-ingest/lumin"
)

func TestEventTypes(t *testing.T) {
	t.Parallel()
	// Written out, not taken from the constants: these are Lumin's words.
	want := `signature_request_created signature_request_viewed signature_request_signed
		signature_request_due_date_updated signature_request_approved signature_request_downloadable
		signature_request_declined signature_request_canceled signature_request_cancel_failed
		signature_request_invalid`
	got := lumin.EventTypes()
	for i, name := range strings.Fields(want) {
		if i >= len(got) || string(got[i]) != name {
			t.Fatalf("EventTypes() = %q, want at %d %q", got, i, name)
		}
	}
	if len(got) != 10 {
		t.Errorf("%d event types, want 10", len(got))
	}

	for _, eventType := range got {
		if !eventType.Documented() {
			t.Errorf("%q is not documented", eventType)
		}
	}
	for _, other := range []lumin.EventType{"", "signature_request_sent", "Signature_Request_Created", "signature_request_cancelled"} {
		if other.Documented() {
			t.Errorf("%q is documented", other)
		}
	}

	got[0] = "changed"
	if lumin.EventTypes()[0] != lumin.SignatureRequestCreated {
		t.Error("changing the slice changed the event types")
	}
}

func TestImpliedStatus(t *testing.T) {
	t.Parallel()
	want := map[lumin.EventType]lumin.Status{
		"signature_request_approved": "APPROVED",
		"signature_request_declined": "REJECTED",
		"signature_request_canceled": "CANCELLED",
		"signature_request_invalid":  "FAILED",
	}
	for _, eventType := range append(lumin.EventTypes(), "", "signature_request_sent") {
		status, ok := eventType.ImpliedStatus()
		if wantStatus, wantOK := want[eventType]; status != wantStatus || ok != wantOK {
			t.Errorf("%q implies %q, %t; want %q, %t", eventType, status, ok, wantStatus, wantOK)
		}
		if ok && !status.Terminal() {
			t.Errorf("%q implies %q, which is not terminal", eventType, status)
		}
	}
}
