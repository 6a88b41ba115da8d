package lumin_test

import (
	"errors"
	"fmt"
	"testing"

	"lumin-ingest/lumin"
)

// Units that a sender may confuse with milliseconds, at both ends of the period
// in which they can be distinguished.
func TestCheckTime(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, eventTime, reason string // "": an event
	}{
		{"milliseconds", "1694664207595", ""},
		{"first of 2015", "1420070400000", ""},
		{"last of 9999", "253402300799999", ""},
		{"last of 2014", "1420070399999", "event_time is before 2015"},
		{"first of all", "1", "event_time is before 2015"},
		{"seconds", "1694664207", "event_time is in seconds"},
		{"seconds as text", `"1694664207"`, "event_time is in seconds"},
		{"seconds, first of 2015", "1420070400", "event_time is in seconds"},
		{"seconds, last of 2014", "1420070399", "event_time is before 2015"},
		{"seconds, last of 2099", "4102444799", "event_time is in seconds"},
		{"seconds, first of 2100", "4102444800", "event_time is before 2015"},
		{"microseconds", "1694664207595000", "event_time is out of range"},
		{"microseconds, first of 2015", "1420070400000000", "event_time is out of range"},
		{"nanoseconds", "1694664207595000000", "event_time is out of range"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			envelope, err := lumin.DecodeEnvelope(fmt.Appendf(nil,
				`{"event":{"event_time":%s,"event_type":"t"},"signature_request":{"signature_request_id":"id"}}`, test.eventTime))
			if err == nil {
				err = envelope.CheckTime()
			}
			reason := ""
			var unrecognized *lumin.UnrecognizedError
			if errors.As(err, &unrecognized) {
				reason = unrecognized.Reason
			}
			if reason != test.reason || (err == nil) != (test.reason == "") {
				t.Errorf("%v, want %q", err, test.reason)
			}
		})
	}
}
