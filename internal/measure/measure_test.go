package measure_test

import (
	"fmt"
	"strings"
	"testing"

	"lumin-ingest/internal/measure"
)

// recorder records what a test logs.
type recorder struct {
	testing.TB
	text strings.Builder
}

func (*recorder) Helper() {}

func (r *recorder) Logf(format string, args ...any) {
	fmt.Fprintf(&r.text, "    x_test.go:7: "+format+"\n", args...)
}

func TestParseLogged(t *testing.T) {
	t.Parallel()
	for _, want := range []struct {
		name  string
		value float64
		unit  string
	}{{"events", 12000, ""}, {"p99 of a = b", 1.25, "ms"}, {"memory", 1e9, "bytes"}} {
		r := &recorder{TB: t}
		measure.Log(r, want.name, want.value, want.unit)
		name, value, unit, found, err := measure.Parse(r.text.String())
		if err != nil || !found || name != want.name || value != want.value || unit != want.unit {
			t.Errorf("%q: %q, %g, %q, %t, %v", r.text.String(), name, value, unit, found, err)
		}
	}
	if _, _, _, found, err := measure.Parse("no figures here"); found || err != nil {
		t.Errorf("a line without a figure: %t, %v", found, err)
	}
	if _, _, _, _, err := measure.Parse("figure: events = many"); err == nil {
		t.Error("a figure that is no number was accepted")
	}
}

func TestSize(t *testing.T) {
	if n := measure.Size(t, "LUMIN_TEST_OF_MEASURE", 5); n != 5 {
		t.Errorf("usual size: %d", n)
	}
	t.Setenv("LUMIN_TEST_OF_MEASURE", "70")
	if n := measure.Size(t, "LUMIN_TEST_OF_MEASURE", 5); n != 70 {
		t.Errorf("size of the variable: %d", n)
	}
	t.Setenv(measure.SeedVariable, "9")
	if a, b := measure.Rand(t).Uint64(), measure.Rand(t).Uint64(); a != b {
		t.Error("the same seed decides differently")
	}
}
