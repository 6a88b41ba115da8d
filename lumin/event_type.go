package lumin

import "slices"

// EventType says what happened to a signature request, in Lumin's spelling.
//
// Lumin also sends types that it does not document: its own example delivery is
// a signature_request_sent. Such a value is an ordinary EventType for which
// [EventType.Documented] is false.
type EventType string

// The event types of Lumin's documentation.
const (
	SignatureRequestCreated        EventType = "signature_request_created"          // the request was created
	SignatureRequestViewed         EventType = "signature_request_viewed"           // a signer opened the document
	SignatureRequestSigned         EventType = "signature_request_signed"           // one signer signed
	SignatureRequestDueDateUpdated EventType = "signature_request_due_date_updated" // the expiry date changed
	SignatureRequestApproved       EventType = "signature_request_approved"         // all signers signed
	SignatureRequestDownloadable   EventType = "signature_request_downloadable"     // the signed file or the certificate can be downloaded
	SignatureRequestDeclined       EventType = "signature_request_declined"         // a signer declined
	SignatureRequestCanceled       EventType = "signature_request_canceled"         // the request was cancelled
	SignatureRequestCancelFailed   EventType = "signature_request_cancel_failed"    // cancelling it failed
	SignatureRequestInvalid        EventType = "signature_request_invalid"          // Lumin could not process the request
)

// AnyEvent stands for every event type, documented or not, where a program says
// which ones it wants. Lumin sends no such type.
const AnyEvent EventType = "*"

// EventTypes returns the ten documented event types in the order of a signature
// request's life: its beginning, its good end, then the ways it goes wrong.
// The slice is the caller's to change.
func EventTypes() []EventType {
	return []EventType{
		SignatureRequestCreated,
		SignatureRequestViewed,
		SignatureRequestSigned,
		SignatureRequestDueDateUpdated,
		SignatureRequestApproved,
		SignatureRequestDownloadable,
		SignatureRequestDeclined,
		SignatureRequestCanceled,
		SignatureRequestCancelFailed,
		SignatureRequestInvalid,
	}
}

// Documented reports whether t is one of [EventTypes]. Case matters.
func (t EventType) Documented() bool {
	return slices.Contains(EventTypes(), t)
}

// ImpliedStatus returns the status that a signature request has by virtue of
// this event alone, and whether there is one. It serves the events whose
// attached object is not documented to carry a status. Only the events that end
// a request imply one; all others leave it to the payload.
func (t EventType) ImpliedStatus() (Status, bool) {
	switch t {
	case SignatureRequestApproved:
		return StatusApproved, true
	case SignatureRequestDeclined:
		return StatusRejected, true
	case SignatureRequestCanceled:
		return StatusCancelled, true
	case SignatureRequestInvalid:
		return StatusFailed, true
	default:
		return "", false
	}
}
