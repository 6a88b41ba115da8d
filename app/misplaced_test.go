package app

import "testing"

func TestWithoutMisplaced(t *testing.T) {
	t.Parallel()
	const secret = "Ab3_def-0123456789"
	for _, c := range []struct{ value, text, want string }{
		{secret, `WORKERS: "` + secret + `" is no number`, `WORKERS: "[a value of SETTING]" is no number`},
		{"crm=" + secret + ",a=5", "no number: " + secret, "no number: [a value of SETTING]"},
		{"10.0.0.0/8, " + secret + "==", "not a network: " + secret + "==", "not a network: [a value of SETTING]"},
		{`"` + secret + `"` + "\n", "in quotes: " + secret, "in quotes: [a value of SETTING]"},
		{"archive_contract=many", "queue archive_contract: many", "queue archive_contract: many"},
		{"/run/secrets/lumin_account_key", "stat /run/secrets/lumin_account_key: no such file", "stat /run/secrets/lumin_account_key: no such file"},
		{"plenty", `MAX_BODY_MEMORY is "plenty"`, `MAX_BODY_MEMORY is "plenty"`},
		{"", "it broke", "it broke"},
	} {
		if got := withoutMisplaced(c.text, []string{"SETTING"}, func(string) string { return c.value }); got != c.want {
			t.Errorf("%q with %q: %q, want %q", c.text, c.value, got, c.want)
		}
	}
}
