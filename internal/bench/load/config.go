package load

import "time"

// Config describes one load.
type Config struct {
	URL         string // address of the webhook
	Secret      string // signs the deliveries
	Connections int    // number of keep-alive connections

	// The load ends after Count deliveries or after Seconds, whichever comes
	// first. Zero means no such limit. UntilClosed ends it when the standard
	// input is closed.
	Count       int
	Seconds     float64
	UntilClosed bool

	Rate     float64 // deliveries per second; 0 means the closed loop
	Series   uint32  // loads with different series send different events
	Distinct int     // number of different events; 0 means that all differ
	Base     int64   // event_time of the first event, in Unix milliseconds
	Times    bool    // also report when each event was answered
}

// Report is the result of a load.
type Report struct {
	Sent       int         // deliveries that were sent, answered or not
	Answers    map[int]int // number of answers by status
	Failed     int         // deliveries without an answer
	FirstError string      // the first of these failures
	Events     int         // number of different events that were answered 200
	Seconds    float64     // from the first delivery to the last answer
	P50        float64     // latencies in milliseconds
	P99        float64
	Max        float64
	Answered   []Answer `json:",omitempty"`
}

// Answer is the time at which an event was answered 200.
type Answer struct {
	SignatureRequestID string
	At                 time.Time
}
