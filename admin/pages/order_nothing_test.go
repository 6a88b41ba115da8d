package pages_test

import (
	"testing"
	"time"

	"lumin-ingest/store"
)

// A plan that would change nothing says why, and has no button.
func TestEmptyPlans(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.register(false, "book")
	r.record(store.Delivery{Source: "account", Payload: []byte(`{}`), Signature: make([]byte, 32), KeyID: "0011223344556677", ReceivedAt: time.Now()})
	for query, why := range map[string]string{
		"do=replay&status=unrecognized":      "No unrecognized event that matches can be decoded now.",
		"do=replay&status=missing&kind=book": "No run is missing",
		"do=replay&status=late":              "No late event that matches lacks a run.",
		"do=dismiss&status=late":             "No late event that matches lacks a run.",
		"do=replay&status=retrying":          "No run that matches waits for its next attempt.",
		"do=cancel&status=retrying":          "No run that matches waits for its next attempt.",
		"do=replay&status=cancelled":         "No cancelled run matches any more.",
		"do=replay&status=succeeded&event=1": "No succeeded run matches any more.",
		"do=replay&kind=book":                "No failed run matches any more. Someone may have acted on them",
		"do=dismiss&status=failed":           "No failed run matches any more. Someone may have acted on them",
		"do=restore&kind=book":               "No dismissed run matches any more.",
	} {
		for _, form := range r.get("/plan?"+query).want(200, why).all("form") {
			if attribute(form, "action") == "/plan" {
				t.Errorf("the plan %s has a form", query)
			}
		}
	}
}

// A plan whose runs are all left out does not say that someone has acted on them.
func TestPlanOfLeftOut(t *testing.T) {
	t.Parallel()
	r := failed(t)
	r.exec(`SELECT lumin.dismiss_failure(event_key, job_kind, 'test', 'ann') FROM lumin.runs WHERE state = 'failed'`)
	r.get("/plan?do=replay&status=failed&kind=book").want(200, "dismissed runs match too", "No other run matches.").not("any more")
}
