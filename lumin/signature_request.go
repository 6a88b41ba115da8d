package lumin

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Status is where a signature request stands, in Lumin's spelling.
type Status string

// The statuses of Lumin's documentation.
const (
	StatusNeedToSign           Status = "NEED_TO_SIGN"
	StatusWaitingForOthers     Status = "WAITING_FOR_OTHERS"
	StatusWaitingForProcessing Status = "WAITING_FOR_PROCESSING"
	StatusApproved             Status = "APPROVED"
	StatusRejected             Status = "REJECTED"
	StatusFailed               Status = "FAILED"
	StatusCancelled            Status = "CANCELLED"
)

// Terminal reports whether a signature request with this status is over: it was
// approved, rejected or cancelled, or it failed. A status that is not documented
// is not known to be terminal.
func (s Status) Terminal() bool {
	switch s {
	case StatusApproved, StatusRejected, StatusFailed, StatusCancelled:
		return true
	default:
		return false
	}
}

// SignatureRequest is what a delivery says about its signature request. A nil
// field was not in the body or not of a type that can be read as its own; Lumin
// attaches different fields to different events, and the shape that it attaches
// to failures is not documented.
//
// Texts are fit for a PostgreSQL text column: NUL is left out, and U+FFFD stands
// for each lone surrogate and each byte that is not UTF-8. So an ID may differ
// from [Envelope.SignatureRequestID], which admits no such text, only where
// [DecodeEnvelope] refuses the body.
type SignatureRequest struct {
	ID          *string
	Title       *string // free text by users of Lumin: any characters, markup too
	Status      *Status // documented or not
	Reason      *string // why it failed or was rejected; else the body's "message"
	SigningType *string // SAME_TIME or ORDER
	CreatedAt   *time.Time
	UpdatedAt   *time.Time
	ExpiresAt   *time.Time
}

// DecodeSignatureRequest reads the signature_request object of a body, be it a
// delivery or an answer of Lumin's API. It is as tolerant as [DecodeEnvelope] is
// strict: it fails only if the body is not JSON or holds no such object. Of a
// repeated member the last one of a usable type counts. Times are milliseconds
// as in DecodeEnvelope. The error holds nothing of the body.
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

// setText sets *field to the text of m if m is a string.
func setText[T ~string](field **T, m member) {
	if m.value[0] != '"' {
		return
	}
	text, _ := unquote(m.value)
	*field = new(T(strings.ReplaceAll(text, "\x00", "")))
}

// setTime sets *field to the time of m if m is one.
func setTime(field **time.Time, m member) {
	if at, wrong := unixMillis(m.value); wrong == "" {
		*field = &at
	}
}
