package app

import (
	"errors"
	"strings"
	"testing"

	"lumin-ingest/internal/advice"
)

func TestClean(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"secret", " secret\n", "\uFEFFsecret\r\n", "\u200Bsecret\u00A0", "\tsecret\v"} {
		if cleaned, err := clean("SETTING", value); err != nil || cleaned != "secret" {
			t.Errorf("%q became %q (%v)", value, cleaned, err)
		}
	}
	for _, value := range []string{`it's "so"ft`, "", " "} {
		if cleaned, err := clean("SETTING", value); err != nil || cleaned != strings.TrimSpace(value) {
			t.Errorf("%q became %q (%v)", value, cleaned, err)
		}
	}
	for _, value := range []string{`"secret"`, `'secret'`, " \"secret\"\n", `"secret`, `secret"`, "\u201Csecret\u201D", "`secret`", `""`} {
		_, err := clean("SETTING", value)
		if !errors.Is(err, advice.ErrUsage) || !strings.Contains(err.Error(), "SETTING is in quotes") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", value, err)
		}
	}
}
