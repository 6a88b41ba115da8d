package app

import "testing"

func TestAge(t *testing.T) {
	t.Parallel()
	for text, good := range map[string]bool{
		"0": true, "0m": true, "90d": true, "12w": true, "2160h": true, "48h10m0s": true, "1m": false, "90m": false, "1s": false, "100000m": false, "1": false,
	} {
		var a age
		if err := a.UnmarshalText([]byte(text)); (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
	}
}
