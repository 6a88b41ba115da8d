package lumin_test

import (
	"errors"
	"fmt"
	"net/http"

	"lumin-ingest/lumin"
)

// A test acts as Lumin and signs a body with the workspace's API key.
func ExampleSign() {
	fmt.Println(lumin.Sign([]byte(`{"event":{}}`), "my_primary_api_key"))
	// Output: 6cb95a367ebcaa4923aff3e5b697b67c537403f0743162f36821a201aae8d71c
}

// Two keys are valid while a key is being rotated.
func ExampleKeyring_Verify() {
	keyring, err := lumin.NewKeyring("my_new_primary_api_key", "my_old_primary_api_key")
	if err != nil {
		fmt.Println(err)
		return
	}

	body := []byte(`{"event":{}}`)
	header := http.Header{}
	header.Set(lumin.SignatureHeader, lumin.Sign(body, "my_old_primary_api_key"))

	match, err := keyring.Verify(body, header)
	fmt.Println(match.KeyID == lumin.KeyID("my_old_primary_api_key"), err)

	_, err = keyring.Verify([]byte(`{"event":{"forged":true}}`), header)
	fmt.Println(errors.Is(err, lumin.ErrSignatureMismatch))
	// Output:
	// true <nil>
	// true
}

func ExampleDecodeEnvelope() {
	envelope, err := lumin.DecodeEnvelope([]byte(`{
		"event": {"event_time": 1694664207595, "event_type": "signature_request_approved"},
		"signature_request": {"signature_request_id": "fa5c8a0b0f49", "title": "Lease"}
	}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(envelope.EventType, envelope.SignatureRequestID)
	fmt.Println(envelope.EventTime)
	fmt.Println(envelope.Key())
	// Output:
	// signature_request_approved fa5c8a0b0f49
	// 2023-09-14 04:03:27.595 +0000 UTC
	// 018a91db-aceb-8a47-bd7c-17d740a5387a
}

// A body that cannot be identified still has a key, so it can be stored.
func ExampleDecodeEnvelope_unrecognized() {
	body := []byte(`{"event": {"event_type": "signature_request_approved"}, "signature_request": {}}`)

	_, err := lumin.DecodeEnvelope(body)
	var unrecognized *lumin.UnrecognizedError
	if errors.As(err, &unrecognized) {
		fmt.Println(unrecognized.Reason)
		fmt.Println(lumin.UnrecognizedKey(body))
	}
	// Output:
	// event_time is missing
	// f7b2e842-df65-823f-87c8-edf016d86780
}
