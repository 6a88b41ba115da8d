package erasure

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// mention finds a word, such as an e-mail address, in a text of any format,
// because a body need not be JSON. It ignores case and the difference between
// composed and decomposed accents. Characters may be escaped as in JSON or in a
// URL. A longer word that contains the word does not match.
type mention struct {
	words   [][]byte // its spellings
	scratch []byte
}

// newMention returns a mention of a word in any of its spellings. No text contains
// an empty word.
func newMention(spellings ...string) *mention {
	m := &mention{}
	for _, word := range spellings {
		if word == "" {
			continue
		}
		m.words = append(m.words, norm.NFC.Bytes([]byte(strings.ToLower(norm.NFC.String(word)))))
	}
	return m
}

// contains reports whether text contains the word.
func (m *mention) contains(text []byte) bool {
	m.scratch = unescapeJSON(m.scratch[:0], text)
	plain := bytes.ToLower(m.scratch)
	return m.containsPlain(plain) || (bytes.IndexByte(plain, '%') >= 0 && m.containsPlain(unescapeURL(plain)))
}

// containsPlain searches a text without escape sequences, unchanged, and with
// composed accents.
func (m *mention) containsPlain(text []byte) bool {
	if slices.ContainsFunc(m.words, func(word []byte) bool { return containsWord(text, word) }) {
		return true
	}
	if norm.NFC.IsNormal(text) {
		return false
	}
	text = norm.NFC.Bytes(text)
	return slices.ContainsFunc(m.words, func(word []byte) bool { return containsWord(text, word) })
}

func containsWord(text, word []byte) bool {
	for at := 0; ; {
		i := bytes.Index(text[at:], word)
		if i < 0 {
			return false
		}
		begin, end := at+i, at+i+len(word)
		if !endsWithinWord(text[:begin]) && !continuesWord(text[end:]) {
			return true
		}
		at = begin + 1
	}
}

// endsWithinWord reports whether a word that follows text would be part of a
// longer word.
func endsWithinWord(text []byte) bool {
	r, _ := utf8.DecodeLastRune(text)
	return isWordRune(r) || r == '.' || r == '+' || r == '-'
}

// continuesWord reports whether text begins with the rest of a word. A dot or a
// hyphen belongs to a word only if more of the word follows, because it may end
// a sentence.
func continuesWord(text []byte) bool {
	r, size := utf8.DecodeRune(text)
	if r == '.' || r == '-' {
		r, _ = utf8.DecodeRune(text[size:])
	}
	return isWordRune(r)
}

func isWordRune(r rune) bool {
	return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_')
}

// unescapeJSON appends text to out with JSON's escape sequences resolved,
// inside and outside of strings.
func unescapeJSON(out, text []byte) []byte {
	for len(text) > 0 {
		i := bytes.IndexByte(text, '\\')
		if i < 0 || i+1 == len(text) {
			return append(out, text...)
		}
		out, text = append(out, text[:i]...), text[i:]
		if r, size := escapedRune(text); size > 0 {
			out, text = utf8.AppendRune(out, r), text[size:]
			continue
		}
		if c := text[1]; strings.IndexByte("bfnrt", c) >= 0 {
			out = append(out, ' ') // \b, \f, \n, \r and \t are white space
		} else {
			out = append(out, c)
		}
		text = text[2:]
	}
	return out
}

// escapedRune reads \uXXXX, and the second half of a surrogate pair after it.
// The size is 0 if text does not begin with \uXXXX.
func escapedRune(text []byte) (r rune, size int) {
	const length = len(`\u0000`)
	unit := func(text []byte) (rune, bool) {
		if len(text) < length || text[0] != '\\' || text[1] != 'u' {
			return 0, false
		}
		n, err := strconv.ParseUint(string(text[2:length]), 16, 16)
		return rune(n), err == nil
	}
	r, ok := unit(text)
	if !ok {
		return 0, 0
	}
	if low, ok := unit(text[length:]); ok && utf16.IsSurrogate(r) {
		if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
			return pair, 2 * length
		}
	}
	return r, length
}

// unescapeURL resolves %XX and returns the text in lower case.
func unescapeURL(text []byte) []byte {
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] == '%' && i+2 < len(text) {
			if n, err := strconv.ParseUint(string(text[i+1:i+3]), 16, 8); err == nil {
				out = append(out, byte(n))
				i += 2
				continue
			}
		}
		out = append(out, text[i])
	}
	return bytes.ToLower(out)
}
