package jobtest

import (
	"errors"
	"fmt"

	"github.com/riverqueue/river/rivertype"

	"lumin-ingest/worker"
)

// Outcome returns what the runtime does with an error of a job type: the
// duration of a snooze, or a word.
func Outcome(err error) string {
	var (
		snooze *rivertype.JobSnoozeError
		cancel *rivertype.JobCancelError
	)
	switch {
	case err == nil:
		return "done"
	case errors.As(err, &snooze):
		return snooze.Duration.String()
	case errors.As(err, &cancel):
		return "cancelled"
	case fmt.Sprintf("%T", err) == fmt.Sprintf("%T", worker.JobFail(nil)):
		return "failed"
	}
	return "retried"
}
