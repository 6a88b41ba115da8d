package ingest_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"time"

	"lumin-ingest/ingest"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// The handler receives a delivery. In a program, Record would be the method of
// a store.Recorder, and Route that of the registry of job types.
func ExampleNew() {
	keyring, err := lumin.NewKeyring("my_primary_api_key")
	if err != nil {
		fmt.Println(err)
		return
	}
	handler, err := ingest.New(ingest.Config{
		Sources: map[string]*lumin.Keyring{"account": keyring},
		Record: func(_ context.Context, d store.Delivery) (store.Receipt, error) {
			fmt.Println("recording", d.Envelope.EventType, "for", d.Jobs[0].Kind)
			return store.Receipt{EventID: 17, Status: store.Recorded}, nil
		},
		Route: func(string, lumin.EventType) []store.JobSpec {
			return []store.JobSpec{{Kind: "archive_contract", Queue: "default", MaxAttempts: 10, Priority: 1}}
		},
		MaxEventAge: 48 * time.Hour,
		Logger:      slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	body := fmt.Sprintf(`{"event":{"event_time":%d,"event_type":"signature_request_downloadable"},
		"signature_request":{"signature_request_id":"fa5c8a0b0f49"}}`, time.Now().UnixMilli())
	request := httptest.NewRequest("POST", "/webhooks/account", strings.NewReader(body))
	request.Header.Set(lumin.SignatureHeader, lumin.Sign([]byte(body), "my_primary_api_key"))
	response := httptest.NewRecorder()
	handler.ServeHTTP(response, request)
	fmt.Print(response.Code, " ", response.Body)
	// Output:
	// recording signature_request_downloadable for archive_contract
	// 200 {"id":17,"status":"recorded"}
}
