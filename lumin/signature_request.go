package lumin

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Status is the state of a signature request, in Lumin's spelling.
type Status string

// The statuses in Lumin's documentation.
const (
	StatusNeedToSign           Status = "NEED_TO_SIGN"
	StatusWaitingForOthers     Status = "WAITING_FOR_OTHERS"
	StatusWaitingForProcessing Status = "WAITING_FOR_PROCESSING"
	StatusApproved             Status = "APPROVED"
	StatusRejected             Status = "REJECTED"
	StatusFailed               Status = "FAILED"
	StatusCancelled            Status = "CANCELLED"
)

// Documented reports whether s is in Lumin's documentation.
func (s Status) Documented() bool {
	switch s {
	case StatusNeedToSign, StatusWaitingForOthers, StatusWaitingForProcessing:
		return true
	default:
		return s.Terminal()
	}
}

// Terminal reports whether a signature request with this status has ended: it
// was approved, rejected or cancelled, or it failed. It returns false for a
// status that Lumin does not document.
func (s Status) Terminal() bool {
	switch s {
	case StatusApproved, StatusRejected, StatusFailed, StatusCancelled:
		return true
	default:
		return false
	}
}

// SignatureRequest holds the data of a signature request in a delivery or in an
// answer of Lumin's API. A field is nil if it was missing from the body or had
// an unusable type. Lumin attaches different fields to different events, and
// does not document the fields of failures.
//
// All texts fit a PostgreSQL text column: NUL is removed, and U+FFFD replaces
// each lone surrogate and each byte that is not UTF-8. [DecodeEnvelope] refuses
// a body with such an id. ID therefore differs from
// [Envelope.SignatureRequestID] only in bodies without an Envelope.
type SignatureRequest struct {
	ID          *string
	Title       *string // free text from Lumin's users: any characters, including markup
	Status      *Status // documented or not
	Reason      *string // reason of a failure or rejection; without it, the object's "message"
	SigningType *string // SAME_TIME or ORDER
	CreatedAt   *time.Time
	UpdatedAt   *time.Time
	ExpiresAt   *time.Time
}

// DecodeSignatureRequest reads the signature_request object of a body. The body
// is a delivery or an answer of Lumin's API. Unlike the strict
// [DecodeEnvelope], it is tolerant: it fails only if the body is not a JSON
// object or has no such object. If a member is repeated, the last one of a
// usable type counts. Times are milliseconds as in DecodeEnvelope. The error
// contains nothing from the body.
func DecodeSignatureRequest(body []byte) (SignatureRequest, error) {
	const parent = "signature_request"
	var (
		r       SignatureRequest
		message *string
		found   bool
	)
	reason := scanMembers(body, func(m member) {
		switch {
		case m.isTop(parent):
			found = found || m.isObject()
		case m.isIn(parent, "signature_request_id"):
			setText(&r.ID, m)
		case m.isIn(parent, "title"):
			setText(&r.Title, m)
		case m.isIn(parent, "status"):
			setText(&r.Status, m)
		case m.isIn(parent, "reason"):
			setText(&r.Reason, m)
		case m.isIn(parent, "message"):
			setText(&message, m)
		case m.isIn(parent, "signing_type"):
			setText(&r.SigningType, m)
		case m.isIn(parent, "created_at"):
			setTime(&r.CreatedAt, m)
		case m.isIn(parent, "updated_at"):
			setTime(&r.UpdatedAt, m)
		case m.isIn(parent, "expires_at"):
			setTime(&r.ExpiresAt, m)
		}
	})
	switch {
	case reason != "":
		return SignatureRequest{}, fmt.Errorf("decode signature request: body is %s", reason)
	case !found:
		return SignatureRequest{}, errors.New("decode signature request: body has no signature_request object")
	}
	if r.Reason == nil {
		r.Reason = message
	}
	return r, nil
}

// signatureRequestObject returns the signature_request object of a body, or nil
// if it has none. If the member is repeated, the last object counts.
func signatureRequestObject(body []byte) (object []byte) {
	reason := scanMembers(body, func(m member) {
		if m.isTop("signature_request") && m.isObject() {
			object = m.value
		}
	})
	if reason != "" {
		return nil
	}
	return object
}

// setText sets *field to the text of m if m is a string.
func setText[T ~string](field **T, m member) {
	if m.value[0] != '"' {
		return
	}
	text, _ := unquote(m.value)
	*field = new(T(strings.ReplaceAll(text, "\x00", "")))
}

// setTime sets *field to the time in m if m is a valid time.
func setTime(field **time.Time, m member) {
	if at, wrong := unixMillis(m.value); wrong == "" {
		*field = &at
	}
}
