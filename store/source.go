package store

import "strings"

// AccountSource is the source of deliveries of the account webhook.
const AccountSource = "account"

// RecoveredSource is the source of recovered events. They were made from answers
// of Lumin's API, because no webhook had reported them, so their real source is
// not known.
const RecoveredSource = "recovered"

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
