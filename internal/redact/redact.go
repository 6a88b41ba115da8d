// Package redact removes personal data and secrets from texts that reach people
// or databases, mostly error messages.
//
//	logger.Error("call failed", "error", redact.Text(err.Error()))
//
// It is a safety net. Code should not put such data into a message in the first
// place. The package recognizes e-mail addresses, the user and password of a
// URL, the query of a URL, and credentials behind the name of their header.
// Lumin puts the bearer token of a details_url into its query. The package
// cannot recognize names, texts of a body, or keys that stand alone. If in
// doubt, it removes too much rather than too little.
//
// Guarantees for a cleaned text:
//
//   - It is valid UTF-8 without NUL and has at most [MaxLength] bytes.
//   - It contains no at sign, and no name=value after a question mark.
//   - Cleaning it again does not change it.
package redact

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxLength is the maximum length of a cleaned text, in bytes. There is a limit
// because the row of a job keeps one error text per attempt.
const MaxLength = 2000

// window is the number of bytes that Text examines. It is larger than MaxLength
// because cleaning shortens a text.
const window = 4 * MaxLength

// at matches an at sign in any spelling: full-width or small, percent-encoded
// once or more, or escaped as in JSON or HTML.
const at = `(?:[@\x{FF20}\x{FE6B}]|%(?:25)*40|\\u0040|&#(?:0*64|[xX]0*40);|&commat;)`

// separator matches what stands between the name of a header and its value. A
// bracket needs the value or its quote behind it, because " [...]" follows a
// shortened text.
const separator = `(?:[\\"']*\s*[:=]\s*(?:\[(?:\]string\{)?\s*[\\"'])?[\\"']*|[\\"']*:\[)`

var (
	// A URL with an at sign is removed entirely, because a password may contain
	// any character. In other addresses, the local part may be quoted and the
	// domain may be a literal in brackets.
	address = regexp.MustCompile(`[^\s"<>]*://\S*` + at + `[^\s"<>]*` +
		`|(?:"[^"\n]*"|[^\s"<>()\[\],;]*)` + at + `(?:\[[^\s\]]*\]|[^\s"'<>()\[\],;:=/?&#]*)`)

	// Libraries put whole headers into errors, as text, as JSON or in the syntax
	// of Go. whsec_ begins secrets of Standard Webhooks.
	credential = regexp.MustCompile(`(?i)\b(?:(?:x-api-key|x-signature)` + separator + `(?:(?:bearer|basic)\s+)?|authorization` + separator + `(?:[a-z][a-z0-9-]*\s+)?)[^\s"'\\,;\[][^\s"',;]*` +
		`|\bbearer\s+[^\s"',;\[]{8,}|\bwhsec_[A-Za-z0-9+/=_-]+`)

	// After a path, a query needs no equals sign, because a token may stand
	// alone.
	pathQuery = regexp.MustCompile(`(/[^\s"<>?#]*?)(?:[?#]|%3[fF])[^\s"<>]+`)
	pairs     = regexp.MustCompile(`(?:[?#&]|%3[fF])[^\s"<>?#&=]*(?:=|%3[dD])[^\s"<>]*`)
)

// Text removes NUL bytes, e-mail addresses, URL queries and credentials from s. The result
// is valid UTF-8 of at most MaxLength bytes. A clean text is returned
// unchanged.
func Text(s string) string {
	const more = " [...]"
	s, shortened := firstWords(s)
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "\uFFFD")
	for before := ""; s != before; { // a replacement may form another match
		before = s
		s = credential.ReplaceAllString(s, "[secret]")
		s = address.ReplaceAllString(s, "[address]")
		s = pathQuery.ReplaceAllString(s, "${1}[query]")
		s = pairs.ReplaceAllString(s, "[query]")
	}
	if !shortened && len(s) <= MaxLength {
		return s
	}
	cut := min(len(s), MaxLength-len(more))
	for cut < len(s) && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + more
}

// firstWords returns the whole words of s that fit into the window, and whether
// s was shortened. It cuts between words, because part of an address would not
// be recognized.
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
