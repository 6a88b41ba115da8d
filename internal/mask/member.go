package mask

import "strings"

// value hides what must not be seen of the value of a member. The name is in lower
// case.
func value(name, text string) string {
	switch {
	case text == "":
		return ""
	case isSecret(name):
		return hidden
	case isAddress(name):
		return address(text)
	case isPerson(name):
		return Name(text)
	case strings.HasSuffix(name, "url") || strings.HasSuffix(name, "link"):
		return link(text)
	}
	return String(text)
}

// isSecret reports whether the value of a member opens something.
func isSecret(name string) bool {
	for _, word := range []string{"token", "secret", "password", "authorization", "api_key", "apikey"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}

// isAddress reports whether the value of a member is an e-mail address.
func isAddress(name string) bool {
	return strings.Contains(name, "email") || strings.Contains(name, "e_mail")
}

// isPerson reports whether the value of a member names a person.
func isPerson(name string) bool {
	switch name {
	case "name", "first_name", "last_name", "full_name", "display_name", "given_name", "family_name", "user_name", "username",
		"phone", "phone_number", "mobile", "ip", "ip_address", "address":
		return true
	}
	return strings.HasSuffix(name, "signer_name")
}

func address(text string) string {
	if strings.Count(text, "@") == 1 && !strings.ContainsAny(text, "\uFF20\uFE6B%&\\:/?# \t\r\n") {
		return Email(text)
	}
	return hidden
}

// link hides everything behind the path of a URL. Lumin puts the bearer token of
// a details_url into its query.
func link(text string) string {
	path, _, more := cut(text)
	if path = String(path); more {
		path += "?" + hidden
	}
	return path
}

// cut cuts a URL before its query or its fragment, also if they are
// percent-encoded.
func cut(text string) (before, after string, found bool) {
	lower := strings.ToLower(text)
	at := len(text)
	for _, mark := range []string{"?", "#", "%3f", "%23"} {
		if i := strings.Index(lower, mark); i >= 0 {
			at = min(at, i)
		}
	}
	if len(lower) != len(text) && at < len(text) { // a letter whose lower case is longer
		return "", text, true
	}
	return text[:at], text[at:], at < len(text)
}
