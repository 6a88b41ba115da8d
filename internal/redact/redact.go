// Package redact takes personal data and secrets out of texts that people or
// databases get to see: error messages, above all.
//
//	logger.Error("call failed", "error", redact.Text(err.Error()))
//
// It is a net under code that should not put such things into a message in the
// first place. It knows e-mail addresses, the user and password of a URL, and
// its query, where Lumin puts the bearer token of a details_url. It cannot know a
// name, and takes too much rather than too little.
//
// What it guarantees of a cleaned text: valid UTF-8 without NUL, no longer than
// [MaxLength], without an at sign, without name=value behind a question mark, and
// unchanged if it is cleaned again.
package redact

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxLength bounds a cleaned text, in bytes. The errors of a job are kept in its
// row once per attempt.
const MaxLength = 2000

// window is how much of a text is looked at: more than can be left of it.
const window = 4 * MaxLength

// at is an at sign however it is written: wide or small, percent-encoded (once
// or more), escaped as in JSON or HTML.
const at = `(?:[@\x{FF20}\x{FE6B}]|%(?:25)*40|\\u0040|&#(?:0*64|[xX]0*40);|&commat;)`

var (
	// Of a URL with an at sign nothing is kept: a password may hold any character.
	// Otherwise the local part may be quoted and the domain a literal in brackets.
	address = regexp.MustCompile(`[^\s"<>]*://\S*` + at + `[^\s"<>]*` +
		`|(?:"[^"\n]*"|[^\s"<>()\[\],;]*)` + at + `(?:\[[^\s\]]*\]|[^\s"'<>()\[\],;:=/?&#]*)`)

	// Behind a path, a query needs no equals sign: a token may stand alone there.
	pathQuery = regexp.MustCompile(`(/[^\s"<>?#]*?)(?:[?#]|%3[fF])[^\s"<>]+`)
	pairs     = regexp.MustCompile(`(?:[?#&]|%3[fF])[^\s"<>?#&=]*(?:=|%3[dD])[^\s"<>]*`)
)

// Text returns s without NUL bytes, e-mail addresses and URL queries, as valid
// UTF-8 of at most MaxLength bytes. A text that is clean comes back unchanged.
func Text(s string) string {
	const more = " [...]"
	s, shortened := firstWords(s)
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "\uFFFD")
	s = address.ReplaceAllString(s, "[address]")
	s = pathQuery.ReplaceAllString(s, "${1}[query]")
	s = pairs.ReplaceAllString(s, "[query]")
	if !shortened && len(s) <= MaxLength {
		return s
	}
	cut := min(len(s), MaxLength-len(more))
	for cut < len(s) && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + more
}

// firstWords returns as many whole words of s as the window takes, and whether
// that is less than all. Part of an address would not be known as one.
func firstWords(s string) (string, bool) {
	if len(s) <= window {
		return s, false
	}
	s = s[:window]
	if end := strings.LastIndexFunc(s, unicode.IsSpace); end > 0 {
		s = s[:end]
	}
	return s, true
}
