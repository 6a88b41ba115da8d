package storetest

import (
	"net/url"
	"testing"
)

// WithSetting adds a setting of the session to a URL. It acts like a default of
// the role or the database.
func WithSetting(tb testing.TB, databaseURL, setting, value string) string {
	tb.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		tb.Fatal(err)
	}
	values := u.Query()
	values.Set(setting, value)
	u.RawQuery = values.Encode()
	return u.String()
}
