package store

import "strings"

// AccountSource is the source of deliveries of the account webhook.
const AccountSource = "account"

// ValidSource reports whether name is [AccountSource] or the source of an app
// webhook. The latter is "app:NAME", where NAME has 1 to 63 characters out of
// a-z, 0-9 and hyphen.
func ValidSource(name string) bool {
	app, isApp := strings.CutPrefix(name, "app:")
	if !isApp {
		return name == AccountSource
	}
	return len(app) >= 1 && len(app) <= 63 && strings.Trim(app, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}
