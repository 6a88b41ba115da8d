// Package measure connects tests with command chaos. A test reads its size and
// seed from environment variables that chaos sets, and logs figures that chaos
// reads. Without the variables, a test has its usual size.
//
//	events := measure.Size(t, "LUMIN_TEST_RETRIES", 50)
//	random := measure.Rand(t)
//	...
//	measure.Log(t, "events", float64(events), "")
package measure

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"testing"
)

// SeedVariable is the variable with the seed of random decisions.
const SeedVariable = "LUMIN_TEST_SEED"

// Size returns the number in a variable, or the usual size if it is not set.
func Size(tb testing.TB, variable string, usual int) int {
	tb.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		tb.Fatalf("%s is %q; it must be a positive number", variable, text)
	}
	return n
}

// Rand returns a source of random numbers. Its seed is in SeedVariable, or is
// drawn, and is logged.
func Rand(tb testing.TB) *rand.Rand {
	tb.Helper()
	seed := rand.Uint64N(1_000_000)
	if text := os.Getenv(SeedVariable); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			tb.Fatalf("%s is %q; it must be a number", SeedVariable, text)
		}
	}
	tb.Logf("%s=%d", SeedVariable, seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// Log logs a figure. The names events, attempts, faults, lost and doubled are
// common to all rows of the fault plan.
func Log(tb testing.TB, name string, value float64, unit string) {
	tb.Helper()
	tb.Logf("figure: %s = %g %s", name, value, unit)
}

var logged = regexp.MustCompile(`figure: (.+) = (\S+) ?(\S*)\s*$`)

// Parse returns the figure in a line of a log. found is false if there is none.
func Parse(line string) (name string, value float64, unit string, found bool, err error) {
	parts := logged.FindStringSubmatch(line)
	if parts == nil {
		return "", 0, "", false, nil
	}
	if value, err = strconv.ParseFloat(parts[2], 64); err != nil {
		return "", 0, "", false, fmt.Errorf("figure %s: %w", parts[1], err)
	}
	return parts[1], value, parts[3], true, nil
}
