package lumin

import "time"

// RetryWindow is the time from Lumin's first attempt at a delivery to its last:
// the sum of [RetryDelays]. After it the event is lost, because Lumin has no way
// to send it again. Each failed attempt may add up to the 30 s that Lumin waits
// for an answer, so a check on the age of a delivery must allow some more.
const RetryWindow = 30*time.Hour + 20*time.Minute

// RetryDelays returns how long Lumin waits after each failed attempt before the
// next one: six delays, hence seven attempts. Any answer other than 200 is a
// failure, and so is none within 30 s. The numbers are those of Lumin's webhook
// documentation. The slice is the caller's to change.
func RetryDelays() []time.Duration {
	return []time.Duration{
		5 * time.Minute,
		15 * time.Minute,
		45 * time.Minute,
		2*time.Hour + 15*time.Minute,
		6*time.Hour + 45*time.Minute,
		20*time.Hour + 15*time.Minute,
	}
}
