package workertest_test

import (
	"fmt"
	"net/http"
	"testing"

	"lumin-ingest/lumin"
	"lumin-ingest/worker/workertest"
)

// t stands for the parameter of a test function, which an example does not
// have.
var t *testing.T

func ExampleDatabase_Run() {
	db := workertest.NewDatabase(t, `CREATE TABLE public.effects (event_key uuid PRIMARY KEY)`)
	result := db.Run(t, inserts(), workertest.Event{Title: "Lease of a boat"})
	workertest.Succeeded(t, result)
	var rows int
	if err := db.Pool.QueryRow(t.Context(), `SELECT count(*) FROM public.effects`).Scan(&rows); err != nil || rows != 1 {
		t.Errorf("%d rows, %v", rows, err)
	}
}

// The program crashes after a plain job type's code has returned.
func ExampleCrash() {
	outside := workertest.NewOutside(t)
	result := workertest.NewDatabase(t).Run(t, &plainJob{}, workertest.Event{}, workertest.Crash(1))
	workertest.Succeeded(t, result)
	if result.Calls != 2 || len(outside.Effects()) != 1 {
		t.Errorf("%d calls, effects %v", result.Calls, outside.Effects())
	}
}

func ExampleTwice() {
	outside := workertest.NewOutside(t)
	workertest.Twice(t, workertest.NewDatabase(t), &plainJob{}, workertest.Event{}, outside.Effects)
}

// The other system refuses the first request.
func ExampleOutside_Next() {
	outside := workertest.NewOutside(t)
	outside.Next(http.StatusTooManyRequests, "Retry-After", "30")
	result := workertest.NewDatabase(t).Run(t, &plainJob{}, workertest.Event{})
	workertest.Succeeded(t, result)
	fmt.Println(result.Snoozes) // [30s]
}

func ExampleWithFollowUp() {
	result := workertest.NewDatabase(t).Run(t, inserts(), workertest.Event{}, workertest.WithFollowUp(noticeWorker{}))
	for _, followUp := range result.FollowUps {
		fmt.Println(followUp.Kind, followUp.State)
	}
}

func ExampleEvents() {
	for _, event := range workertest.Events() {
		envelope, err := lumin.DecodeEnvelope(event.Body())
		fmt.Println(envelope.EventType, err)
	}
	// Output:
	// signature_request_created <nil>
	// signature_request_viewed <nil>
	// signature_request_signed <nil>
	// signature_request_due_date_updated <nil>
	// signature_request_approved <nil>
	// signature_request_downloadable <nil>
	// signature_request_declined <nil>
	// signature_request_canceled <nil>
	// signature_request_cancel_failed <nil>
	// signature_request_invalid <nil>
	// signature_request_sent <nil>
}
