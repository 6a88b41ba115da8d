package app

import (
	"fmt"
	"strings"
	"unicode"

	"lumin-ingest/internal/advice"
)

// clean removes the white space, line ends and byte order mark around a value
// that was copied or read from a file. It refuses a value in quotes: env files
// and containers keep quotes that a shell would remove. The error does not show
// the value, which may be a secret.
func clean(setting, value string) (string, error) {
	value = trim(value)
	if quoted(value) {
		return "", advice.Usage(setting+" is in quotes", "remove the quotes: they count as part of the value")
	}
	return value, nil
}

// trim removes invisible characters at both ends of a value.
func trim(value string) string { return strings.TrimFunc(value, invisible) }

func invisible(r rune) bool {
	switch r {
	case '\uFEFF', '\u200B', '\u200C', '\u200D', '\u2060': // byte order mark, zero width
		return true
	}
	return unicode.IsSpace(r)
}

// quotes are the quotation marks that people type or that word processors
// insert.
const quotes = "\"'`\u2018\u2019\u201C\u201D\u00AB\u00BB"

// quoted reports whether a value begins or ends with a quote. No valid key,
// secret or URL does.
func quoted(value string) bool {
	return strings.Trim(value, quotes) != value
}

// cleanEntries splits a list and cleans each entry.
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
