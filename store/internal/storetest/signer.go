package storetest

import (
	"encoding/hex"
	"fmt"
	"testing"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// SignedBy is a [Delivery] whose body names a signer.
func SignedBy(n int, signer, token string, jobs ...string) store.Delivery {
	d := Delivery(n, jobs...)
	d.Payload = fmt.Appendf(nil, `{"event":{"event_time":%d,"event_type":"signature_request_signed","event_metadata":{"signer_email":%q}},`+
		`"signature_request":{"signature_request_id":"request-%d","title":"title","details_url":"https://example.com/?token=%s"}}`,
		d.Envelope.EventTime.UnixMilli(), signer, n, token)
	return d
}

// Secret is a secret of the account.
const Secret = "storetest_account_key"

// WithSecret is the same delivery, signed with a secret of its source.
func WithSecret(tb testing.TB, d store.Delivery, secret string) store.Delivery {
	tb.Helper()
	signature, err := hex.DecodeString(lumin.Sign(d.Payload, secret))
	if err != nil {
		tb.Fatal(err)
	}
	d.Signature, d.KeyID = signature, lumin.KeyID(secret)
	return d
}
