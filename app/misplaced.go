package app

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// keyLike matches texts that may be a key or a secret, in Base64 too. Paths that
// begin with / or ./ do not match.
var keyLike = regexp.MustCompile(`^(whsec_\S+|\.?[A-Za-z0-9_+~-][A-Za-z0-9_+.~/-]{15,}=*|/[A-Za-z0-9+/]{15,}={1,2})$`)

// mayBeSecret reports whether a text looks like a secret. A network can be long
// enough, and is shown.
func mayBeSecret(text string) bool {
	_, err := netip.ParsePrefix(text)
	return err != nil && keyLike.MatchString(text)
}

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
	all = slices.DeleteFunc(all, func(part string) bool { return !mayBeSecret(part) })
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	return slices.Compact(all)
}
