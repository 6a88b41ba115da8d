package app

import (
	"errors"
	"io"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/term"

	"lumin-ingest/internal/advice"
	"lumin-ingest/internal/jsonline"
	"lumin-ingest/internal/servicelog"
)

// output is the standard output of a command. It keeps the first write error,
// so that a command whose output was lost does not exit with 0.
type output struct {
	to  io.Writer
	err error
}

// Write implements [io.Writer].
func (o *output) Write(p []byte) (int, error) {
	n, err := o.to.Write(p)
	if err != nil && o.err == nil {
		o.err = err
	}
	return n, err
}

// failure returns the error for lost output; nil if none was lost. It ignores a
// closed pipe: a reader such as head has read all that it needs.
func (o *output) failure() error {
	if o.err == nil || errors.Is(o.err, syscall.EPIPE) {
		return nil
	}
	return advice.Add(&lostOutput{o.err}, "free space where the output is written, or write it elsewhere")
}

// lostOutput is the first write error of an output.
type lostOutput struct{ error }

func (e *lostOutput) Error() string { return "the output cannot be written: " + e.error.Error() }
func (e *lostOutput) Unwrap() error { return e.error }

// terminal returns the terminal that w writes to; nil if w writes elsewhere.
func terminal(w io.Writer) *os.File {
	switch o := w.(type) {
	case *output:
		w = o.to
	case *servicelog.Queue:
		w = o.Writer()
	}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}

// defaultWidth is for terminals that report no width.
const defaultWidth = 80

// widthOf returns the width of a terminal in characters: from COLUMNS or else
// from the terminal itself. It is 0 if w does not write to a terminal.
func widthOf(w io.Writer) int {
	f := terminal(w)
	if f == nil {
		return 0
	}
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	if n, _, err := term.GetSize(int(f.Fd())); err == nil && n > 0 {
		return n
	}
	return defaultWidth
}

// printJSON prints one value as one line; see [jsonline.Write]. A value that has no
// JSON form is an error of an [output] too, so that a caller may ignore the result.
func printJSON(w io.Writer, value any) error {
	err := jsonline.Write(w, value)
	if o, ok := w.(*output); ok && err != nil && o.err == nil {
		o.err = err
	}
	return err
}
