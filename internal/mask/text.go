package mask

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"lumin-ingest/internal/redact"
)

// hidden stands for what is not shown.
const hidden = "•••"

// String hides addresses, credentials and the queries of URLs in a text, and
// keeps everything else. A text without them is returned unchanged.
func String(text string) string {
	if !suspicious(text) {
		return text
	}
	var out strings.Builder
	for len(text) > 0 {
		end := strings.IndexFunc(text, unicode.IsSpace)
		if end < 0 {
			end = len(text)
		}
		out.WriteString(word(text[:end]))
		text = text[end:]
		if next := strings.IndexFunc(text, func(r rune) bool { return !unicode.IsSpace(r) }); next >= 0 {
			out.WriteString(text[:next])
			text = text[next:]
		} else {
			out.WriteString(text)
			text = ""
		}
	}
	return credentials(out.String())
}

// marks are the characters that every address, query and escaped at sign has.
const marks = "@?#%&\\=:\uFF20\uFE6B"

func suspicious(text string) bool {
	return strings.ContainsAny(text, marks) || strings.Contains(strings.ToLower(text), "bearer") || strings.Contains(text, "whsec_")
}

// email is an address as people write it. Other spellings are hidden whole.
var email = regexp.MustCompile(`^([<("']*)(?:mailto:)?([\p{L}\p{N}][\p{L}\p{N}._+'-]*)@([\p{L}\p{N}-]+(?:\.[\p{L}\p{N}-]+)+)([>)"',;:.!?]*)$`)

// word hides what must not be seen of a text without spaces.
func word(w string) string {
	if parts := email.FindStringSubmatch(w); parts != nil {
		return parts[1] + Email(parts[2]+"@"+parts[3]) + parts[4]
	}
	if len(w) > longWord {
		if strings.ContainsAny(w, marks) {
			return hidden
		}
		return w
	}
	return marked(redact.Text(w))
}

// longWord is the length of a word that is hidden whole if it may contain
// anything to hide. It keeps redact.Text from shortening the word.
const longWord = 1000

// credentials hides secrets that consist of several words.
func credentials(text string) string {
	const step = 2 * longWord // at most, so that redact.Text shortens nothing
	if len(text) <= step {
		return unmasked(text)
	}
	if secret.MatchString(text) {
		return hidden
	}
	return text
}

// secret is the beginning of a secret that follows in the next word.
var secret = regexp.MustCompile(`(?i)\b(?:bearer|basic|authorization|x-api-key|x-signature)\b`)

// unmasked cleans a text whose addresses have been masked already: redact.Text
// would take them for addresses.
func unmasked(text string) string {
	const at = "\uE000" // of the private use area
	if strings.Contains(text, at) {
		return hidden
	}
	clean := redact.Text(strings.ReplaceAll(text, hidden+"@", hidden+at))
	return marked(strings.ReplaceAll(clean, at, "@"))
}

// marked replaces the marks of package redact by dots.
func marked(text string) string {
	return strings.NewReplacer("[address]", hidden, "[query]", "?"+hidden, "[secret]", hidden).Replace(text)
}

// Email hides the local part of an address except its first letter:
// a•••@example.com. A text without an at sign is hidden whole.
func Email(address string) string {
	at := strings.LastIndexByte(address, '@')
	if at < 1 {
		return hidden
	}
	return first(address) + "@" + address[at+1:]
}

// Name hides the name of a person except its first letter.
func Name(name string) string {
	if name == "" {
		return ""
	}
	return first(name)
}

// first is the first letter of a text, with dots.
func first(text string) string {
	r, _ := utf8.DecodeRuneInString(text)
	if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
		return hidden
	}
	return string(r) + hidden
}
