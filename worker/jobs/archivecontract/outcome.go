package archivecontract

import (
	"cmp"
	"errors"
	"net/http"
	"time"

	"lumin-ingest/lumin"
	"lumin-ingest/worker"
	"lumin-ingest/worker/jobs/internal/retrylater"
)

// fileError is the error of one file, with its consequence for the run.
type fileError struct {
	err     error
	outcome outcome
	delay   time.Duration // of snooze
}

// outcome is what happens to a run. If several files have errors, the lowest
// value counts.
type outcome int

const (
	retry outcome = iota
	snooze
	fail
)

// classify decides the consequence of an error.
func classify(e *worker.Event, t lumin.FileType, err error) fileError {
	var answer *lumin.APIError
	switch {
	case errors.Is(err, lumin.ErrInvalidID), errors.Is(err, lumin.ErrFileTooLarge):
		return fileError{err: err, outcome: fail}
	case !errors.As(err, &answer):
		return fileError{err: err}
	}
	if requested, ok := retryLater(e, answer); ok {
		if delay, ok := retrylater.Delay(requested, time.Since(e.ReceivedAt)); ok {
			return fileError{err: err, outcome: snooze, delay: delay}
		}
	}
	if t == lumin.FileAgreement && !answer.Link && isFinal(answer.StatusCode) {
		return fileError{err: err, outcome: fail}
	}
	return fileError{err: err}
}

// retryLater reports whether Lumin asks to come back later, and after how long.
// A 409 means that the signature request is not approved yet. Without a
// Retry-After, the wait then grows with the event's age.
func retryLater(e *worker.Event, answer *lumin.APIError) (requested time.Duration, ok bool) {
	if answer.StatusCode == http.StatusConflict && !answer.Link {
		tenth := (time.Since(e.ReceivedAt) / 10).Truncate(time.Second)
		return cmp.Or(answer.RetryAfter, max(tenth, time.Minute)), true
	}
	return answer.RetryAfter, retrylater.Requested(answer.StatusCode)
}

// isFinal reports whether repeating a request cannot change the API's response.
func isFinal(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone,
		http.StatusRequestURITooLong, http.StatusUnprocessableEntity, http.StatusUnavailableForLegalReasons:
		return true
	default:
		return false
	}
}

// runError returns an error that gives the run the lowest outcome of its files,
// and the longest delay.
func runError(files []fileError) error {
	if len(files) == 0 {
		return nil
	}
	errs, decisive := make([]error, 0, len(files)), files[0]
	for _, f := range files {
		errs = append(errs, f.err)
		if f.outcome < decisive.outcome || f.outcome == decisive.outcome && f.delay > decisive.delay {
			decisive = f
		}
	}
	err := errors.Join(errs...)
	switch decisive.outcome {
	case snooze:
		return retrylater.Snooze(err, decisive.delay)
	case fail:
		return worker.JobFail(err)
	default:
		return err
	}
}
