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
		{"k/9" + secret + "+/x==", "stat k/9" + secret + "+/x==: no such file", "stat [a value of SETTING]: no such file"},
		{"/" + secret[:3] + "//+01234567890123=", "stat /" + secret[:3] + "//+01234567890123=: no such file", "stat [a value of SETTING]: no such file"},
		{"whsec_short//", "crm=whsec_short//", "crm=[a value of SETTING]"},
		{"./secrets/lumin_account_key", "stat ./secrets/lumin_account_key: no such file", "stat ./secrets/lumin_account_key: no such file"},
		{"192.168.100.200/24", "192.168.100.200/24 is not a network", "192.168.100.200/24 is not a network"},
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
