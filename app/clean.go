package app

import (
	"fmt"
	"strings"
	"unicode"
)

// clean returns a value as it was meant: without the white space, line ends and
// byte order mark that come along when it is copied, or read from a file. A value
// in quotes is refused: an env file or a container keeps quotes that a shell
// takes away. The error does not show the value, which may be a secret.
func clean(setting, value string) (string, error) {
	value = trim(value)
	if quoted(value) {
		return "", usage(setting+" is in quotes", "remove the quotes: they are taken for a part of the value")
	}
	return value, nil
}

// trim removes what surrounds a value without being seen.
func trim(value string) string { return strings.TrimFunc(value, invisible) }

func invisible(r rune) bool {
	switch r {
	case '\uFEFF', '\u200B', '\u200C', '\u200D', '\u2060': // byte order mark, zero width
		return true
	}
	return unicode.IsSpace(r)
}

// quotes begin or end a quoted value, as typed or as a word processor writes them.
const quotes = "\"'`\u2018\u2019\u201C\u201D\u00AB\u00BB"

// quoted reports whether a value has a quote at either end. No key, secret or URL
// has one there.
func quoted(value string) bool {
	return strings.Trim(value, quotes) != value
}

// cleanEntries are the cleaned entries of a list.
func cleanEntries(setting, list string) ([]string, error) {
	all := entries(list)
	for i := range all {
		var err error
		if all[i], err = clean(fmt.Sprintf("%s: entry %d", setting, i+1), all[i]); err != nil {
			return nil, err
		}
	}
	return all, nil
}
