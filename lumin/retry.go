package lumin

import "time"

// RetryWindow is the time from Lumin's first attempt at a delivery to its last:
// the sum of [RetryDelays]. After that the event is lost, because Lumin cannot
// send it again. Lumin waits up to 30 s for each answer, and each failed
// attempt may add that much. A check on the age of a delivery must therefore
// allow more than RetryWindow.
const RetryWindow = 30*time.Hour + 20*time.Minute

// RetryDelays returns Lumin's waiting times between attempts: six delays, so
// seven attempts. An attempt fails if the answer is not 200, or if there is no
// answer within 30 s. The numbers come from Lumin's webhook documentation. The
// caller may change the slice.
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
