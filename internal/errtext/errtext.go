// Package errtext puts the words of Go's libraries into plain ones, in errors that
// people get to see.
//
//	fmt.Fprintln(w, errtext.Plain(err.Error()))
//
// It changes texts only: errors keep what they wrap.
package errtext

import "strings"

// Plain returns an error's text in which a deadline of Go's context package is
// called an answer that did not come in time. Use it where it is not known whose
// deadline that was; otherwise name the timeout.
func Plain(text string) string {
	return strings.NewReplacer(
		"timeout: context deadline exceeded", "no answer in time", // from pgx
		"in time: context deadline exceeded", "in time", // from package lumin
		"context deadline exceeded (Client.Timeout exceeded while awaiting headers)", "no answer in time", // from net/http
		"context deadline exceeded", "no answer in time",
	).Replace(text)
}
