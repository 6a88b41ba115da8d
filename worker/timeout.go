package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// nameTimeout names the exceeded timeout in the error of an attempt. Go's own text,
// "context deadline exceeded", does not say which timeout it was.
func nameTimeout(ctx context.Context, timeout time.Duration, err error) error {
	var f *failure
	if !errors.As(err, &f) {
		return err
	}
	const bare = "context deadline exceeded"
	over := errors.Is(ctx.Err(), context.DeadlineExceeded)
	words := "took longer than its timeout of " + inWords(timeout)
	text := f.text
	switch {
	case over && strings.Contains(text, bare):
		text = strings.ReplaceAll(text, bare, words)
	case over && f.stack == nil && f.means == nil && !errors.Is(err, errTurnedAway): // such as a connection that was closed for it
		text = words + ": " + text
	case !over: // the job type has timeouts of its own, as for a call of another system
		text = strings.ReplaceAll(text, bare, "took longer than a timeout of its own")
	}
	if text == f.text {
		return err
	}
	named := *f
	named.text = text
	return &named
}

// inWords formats a timeout in one unit.
func inWords(d time.Duration) string {
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
