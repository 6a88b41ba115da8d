package app

import "testing"

func TestNearestSetting(t *testing.T) {
	t.Parallel()
	known := []string{"FORWARD_URLS", "LUMIN_ACCOUNT_API_KEYS", "LUMIN_API_KEY"}
	for name, want := range map[string]string{
		"FORWARD_URL": "FORWARD_URLS", "LUMIN_ACCOUNT_KEY": "LUMIN_ACCOUNT_API_KEYS", "LUMIN_APIKEY": "LUMIN_API_KEY",
		"ARCHIVE_SOMETHING_ELSE": "", "": "",
	} {
		if got := nearestSetting(name, known); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
