package app

import (
	"regexp"
	"slices"
	"strings"
)

// keyLike matches texts that may be a key or a secret.
var keyLike = regexp.MustCompile(`^[A-Za-z0-9_+.~-]{16,}=*$`)

// withoutMisplaced returns the text of an error without the values of settings
// that look like a secret: it may have been put into the wrong setting. names
// are the settings of the program, and getenv reads one.
func withoutMisplaced(text string, names []string, getenv func(string) string) string {
	for _, name := range names {
		for _, part := range parts(getenv(name)) {
			text = strings.ReplaceAll(text, part, "[a value of "+name+"]")
		}
	}
	return text
}

// parts returns the parts of a setting that look like a secret, the longest
// first: the whole value, the entries of a list, and the values of entries
// NAME=VALUE.
func parts(value string) []string {
	value = trim(value)
	all := append([]string{value}, entries(value)...)
	for _, entry := range all {
		if _, named, found := strings.Cut(entry, "="); found {
			all = append(all, named)
		}
	}
	for i := range all {
		all[i] = strings.Trim(all[i], quotes+" ")
	}
	all = slices.DeleteFunc(all, func(part string) bool { return !keyLike.MatchString(part) })
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	return slices.Compact(all)
}
