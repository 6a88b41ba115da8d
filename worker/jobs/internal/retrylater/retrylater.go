// Package retrylater is the policy of the built-in job types for another system
// that asks them to come back later.
//
// The job is snoozed, which uses no attempt. It waits as long as Retry-After
// says, from a second to an hour, or a minute without that header. A day after
// the event was received, the job gives up waiting: such a response then counts
// like any other error, and uses an attempt.
package retrylater

import (
	"fmt"
	"net/http"
	"time"

	"github.com/riverqueue/river"
)

const (
	// maxAge is the age of an event, since its receipt, up to which its jobs
	// wait.
	maxAge = 24 * time.Hour

	shortest, usual, longest = time.Second, time.Minute, time.Hour
)

// Requested reports whether a response with this status asks to come back
// later.
func Requested(status int) bool {
	return status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable
}

// Delay returns how long a job waits. requested is the duration that the other
// system asked for; 0 or less means that it asked for none. age is the time
// since the event was received. ok is false if the event is too old to wait.
func Delay(requested, age time.Duration) (delay time.Duration, ok bool) {
	switch {
	case age > maxAge:
		return 0, false
	case requested <= 0:
		return usual, true
	default:
		return min(max(requested, shortest), longest), true
	}
}

// Snooze returns err as an error that snoozes the job.
func Snooze(err error, delay time.Duration) error {
	return fmt.Errorf("%w: %w", err, river.JobSnooze(delay))
}
