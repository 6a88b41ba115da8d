package worker

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// nameTimeout names the exceeded timeout in the error of an attempt. Go's own
// text, "context deadline exceeded", does not show which timeout it was.
func (j *runningJob) nameTimeout(err error) error {
	var f *failure
	if j.expired == nil || !errors.As(err, &f) {
		return err
	}
	const goText = "context deadline exceeded"
	expired := j.expired()
	named := "took longer than its timeout of " + formatTimeout(j.timeout)
	text := f.text
	switch {
	case expired && strings.Contains(text, goText):
		text = strings.ReplaceAll(text, goText, named)
	case expired && f.stack == nil && f.means == nil && !errors.Is(err, errTurnedAway): // such as the error of a connection that closeWhenOverdue closed
		text = named + ": " + text
	case !expired: // a timeout that the job type set itself, such as for an HTTP request
		text = strings.ReplaceAll(text, goText, "took longer than a timeout of its own")
	}
	if text == f.text {
		return err
	}
	renamed := *f
	renamed.text = text
	return &renamed
}

// formatTimeout formats a timeout in one unit.
func formatTimeout(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d%time.Minute == 0:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d%time.Second == 0 && d < 2*time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	default:
		return d.String()
	}
}
