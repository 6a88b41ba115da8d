// Package errtext replaces technical terms of Go's libraries by plain words in
// errors that users see.
//
//	fmt.Fprintln(w, errtext.Plain(err.Error()))
//
// It changes only texts, not error values.
package errtext

import "strings"

// Plain replaces "context deadline exceeded" by "no answer in time" in the text
// of an error. Use it only where the timeout is not known; otherwise name the
// timeout.
func Plain(text string) string {
	return strings.NewReplacer(
		"timeout: context deadline exceeded", "no answer in time", // from pgx
		"in time: context deadline exceeded", "in time", // from package lumin
		"context deadline exceeded (Client.Timeout exceeded while awaiting headers)", "no answer in time", // from net/http
		"context deadline exceeded", "no answer in time",
	).Replace(text)
}

// OneLine returns the plain text of an error as one line.
func OneLine(err error) string {
	return Plain(strings.Join(strings.Fields(err.Error()), " "))
}
