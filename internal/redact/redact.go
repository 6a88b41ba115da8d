// Package redact takes personal data and secrets out of texts that people or
// databases get to see: error messages, above all.
//
// It is a net under code that should not put such things into a message in the
// first place. It knows e-mail addresses and the queries of URLs, where Lumin
// puts the bearer token of a details_url; it cannot know a name.
package redact

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// MaxLength bounds a cleaned text, in bytes. The errors of a job are kept in its
// row once per attempt.
const MaxLength = 2000

var (
	// Wide on purpose: user:password@host is caught as well.
	address = regexp.MustCompile(`[^\s@"'<>()\[\],;=/]+(?:@|%40)[^\s@"'<>()\[\],;:=/?&]+`)
	query   = regexp.MustCompile(`[?#&][^\s"'<>?#&]*=[^\s"'<>]*`)
)

// Text returns s without NUL bytes, e-mail addresses and URL queries, as valid
// UTF-8 of at most MaxLength bytes. A text that is clean comes back unchanged.
func Text(s string) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "\uFFFD")
	s = query.ReplaceAllString(s, "?[removed]")
	s = address.ReplaceAllString(s, "[address]")
	if len(s) <= MaxLength {
		return s
	}
	const more = " [...]"
	cut := MaxLength - len(more)
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + more
}
