package lumin

import "slices"

// EventType names what happened to a signature request, in Lumin's spelling.
//
// Lumin also sends types that it does not document: its own example delivery
// has the type signature_request_sent. Such a value is an ordinary EventType,
// and [EventType.Documented] returns false for it.
type EventType string

// The event types in Lumin's documentation.
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

// AnyEvent stands for every event type, documented or not, wherever a program
// selects event types. Lumin never sends it.
const AnyEvent EventType = "*"

// EventTypes returns the ten documented event types in the order of a signature
// request's life: from creation to success, then the failures. The caller may
// change the slice.
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

// Recoverable reports whether an answer of Lumin's API about a signature request
// can prove that an event of this type happened: it ends the request, or says that
// its file can be downloaded.
func (t EventType) Recoverable() bool {
	_, ends := t.ImpliedStatus()
	return ends || t == SignatureRequestDownloadable
}

// ImpliedStatus returns the status that the event alone implies for its
// signature request, and whether there is one. Some events need it, because
// Lumin does not document a status in their object. Only the events that end a
// request imply a status. For all others the payload decides.
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
