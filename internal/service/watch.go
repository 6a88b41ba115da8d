package service

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"lumin-ingest/internal/advice"
)

// watch re-reads files while the service runs, and takes a new value into use.
type watch[T any] struct {
	what    string // plural, for the log: "secrets"
	read    func() (T, error)
	timeout time.Duration // of one call of read
	logger  *slog.Logger
	same    func(a, b T) bool
	about   func(T) []any                        // attributes for the log
	use     func(ctx context.Context, t T) error // takes a value into use and logs the change

	valid  T      // in use
	seen   *T     // what the previous look found, if it differs from valid
	broken string // the error of the previous look; empty if it succeeded
	logged bool   // whether broken is in the log

	reading chan reading[T] // set while read runs
}

// reading is the result of one reading.
type reading[T any] struct {
	value T
	err   error
}

// look reads the files. It starts to use a new value once two consecutive looks
// have found the same one, because the first look may find a partly written
// file, or only one new file of two. With asked, it uses the value at once.
func (w *watch[T]) look(ctx context.Context, asked bool) {
	found, err := w.await(ctx)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		w.fail(err, asked)
		return
	}
	recovered := w.broken != "" && w.logged
	w.broken, w.logged = "", false
	if w.same(found, w.valid) {
		if asked || recovered {
			w.logger.Info("the "+w.what+" were reloaded: they have not changed", w.about(found)...)
		}
		w.seen = nil
		return
	}
	if !asked && (w.seen == nil || !w.same(found, *w.seen)) {
		w.seen = &found
		return
	}
	if err := w.use(ctx, found); err != nil {
		w.fail(err, asked)
		return
	}
	w.valid, w.seen = found, nil
}

// await reads the files with a time limit, so that a mount that hangs does not
// keep the program from stopping. After a timeout, the next call waits for the
// same reading, so at most one hangs.
func (w *watch[T]) await(ctx context.Context) (none T, _ error) {
	if w.reading == nil {
		result := make(chan reading[T], 1)
		go func() {
			value, err := w.read()
			result <- reading[T]{value, err}
		}()
		w.reading = result
	}
	timeout := time.NewTimer(w.timeout)
	defer timeout.Stop()
	select {
	case r := <-w.reading:
		w.reading = nil
		return r.value, r.err
	case <-ctx.Done():
		return none, ctx.Err()
	case <-timeout.C:
		return none, advice.Add(errors.New("the files cannot be read in time"), "check whether their file system hangs")
	}
}

// fail logs an error once two consecutive looks have found it: one look may
// come in the middle of a change. With asked, it logs the error at once. Errors
// of settings contain no part of a secret.
func (w *watch[T]) fail(err error, asked bool) {
	w.seen = nil
	if err.Error() != w.broken {
		w.broken, w.logged = err.Error(), false
		if !asked {
			return
		}
	}
	if asked || !w.logged {
		w.logged = true
		problem, remedy := advice.Of(err)
		w.logger.Error("the "+w.what+" cannot be reloaded; the previous ones stay in use", "error", problem, "remedy", remedy)
	}
}
