// Package sample creates deliveries in Lumin's format, for demonstrations and
// tests. The people and addresses in them are fictitious.
package sample

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"lumin-ingest/lumin"
)

// AccountKey and AppSecret are the example secrets in Lumin's documentation.
// They are public, so never accept them outside a demonstration.
const (
	AccountKey = "my_primary_api_key"
	AppSecret  = "your_app_signing_secret"
)

// Delivery holds the values for a body.
type Delivery struct {
	EventType          lumin.EventType
	SignatureRequestID string    // empty means a random id
	At                 time.Time // event_time; zero means now
	Token              string    // token in details_url; empty means a random one
}

// signer is an entry of the member signers.
type signer struct {
	Name       string `json:"name"`
	Email      string `json:"email"`
	Status     string `json:"status"`
	IsApproved bool   `json:"is_approved"`
	Group      int    `json:"group"`
}

// Body returns a body in the documented format. For the event types of a
// failure or a cancellation, the object has only an id and a reason.
func (d Delivery) Body() []byte {
	if d.SignatureRequestID == "" {
		d.SignatureRequestID = RandomHex(20)
	}
	if d.At.IsZero() {
		d.At = time.Now()
	}
	if d.Token == "" {
		d.Token = RandomHex(8)
	}
	request := map[string]any{"signature_request_id": d.SignatureRequestID}
	if reason, wrong := reasons[d.EventType]; wrong {
		request["reason"] = reason
	} else {
		d.describe(request)
	}
	body, err := json.Marshal(map[string]any{
		"event": map[string]any{
			"event_time":     d.At.UnixMilli(),
			"event_type":     d.EventType,
			"event_metadata": map[string]any{"workspace_id": "sample-workspace", "signer_email": "ada@example.com"},
		},
		"signature_request": request,
	})
	if err != nil {
		panic(err) // maps of strings and numbers
	}
	return body
}

// reasons holds the reason for each event type to which Lumin attaches an error
// object.
var reasons = map[lumin.EventType]string{ //nolint:gochecknoglobals // a table
	lumin.SignatureRequestInvalid:      "the text tags of the document could not be read",
	lumin.SignatureRequestCanceled:     "cancelled by the sender",
	lumin.SignatureRequestCancelFailed: "the signature request has already ended",
}

func (d Delivery) describe(request map[string]any) {
	status, signed := lumin.StatusNeedToSign, false
	switch d.EventType {
	case lumin.SignatureRequestSigned:
		status, signed = lumin.StatusWaitingForOthers, true
	case lumin.SignatureRequestApproved, lumin.SignatureRequestDownloadable:
		status, signed = lumin.StatusApproved, true
	case lumin.SignatureRequestDeclined:
		status = lumin.StatusRejected
		request["reason"] = "declined by a signer"
	}
	signerStatus := "NEED_TO_SIGN"
	if signed {
		signerStatus = "APPROVED"
	}
	const hour = int64(time.Hour / time.Millisecond)
	now := d.At.UnixMilli()
	request["title"] = "Sample agreement"
	request["status"] = status
	request["signing_type"] = "ORDER"
	request["created_at"] = now - hour
	request["updated_at"] = now
	request["expires_at"] = now + 30*24*hour
	request["signers"] = []signer{{"Ada Example", "ada@example.com", signerStatus, signed, 1}}
	request["details_url"] = fmt.Sprintf("https://sign.example.com/requests/%s?token=%s", d.SignatureRequestID, d.Token)
}

// RandomHex returns n random bytes in hexadecimal digits.
func RandomHex(n int) string {
	bytes := make([]byte, n)
	_, _ = rand.Read(bytes) // never fails
	return hex.EncodeToString(bytes)
}
