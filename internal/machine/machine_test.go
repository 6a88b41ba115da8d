package machine

import (
	"errors"
	"math"
	"runtime/debug"
	"testing"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// Go's memory limit is a property of the process, so these tests are not
// parallel.
func TestLimitMemory(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1))
	none := func() (uint64, error) { return 0, memlimit.ErrNoLimit }
	broken := func() (uint64, error) { return 0, errors.New("no cgroups here") }
	for name, c := range map[string]struct {
		setting string // GOMEMLIMIT
		limit   memlimit.Provider
		before  int64
		want    int64
	}{
		"a limit":              {"", memlimit.Limit(512 << 20), math.MaxInt64, 512 << 20 * 9 / 10},
		"no limit":             {"", none, math.MaxInt64, 0},
		"no cgroups":           {"", broken, math.MaxInt64, 0},
		"the user's own limit": {"100MiB", memlimit.Limit(512 << 20), 100 << 20, 100 << 20},
		"the user wants none":  {"off", memlimit.Limit(512 << 20), math.MaxInt64, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("GOMEMLIMIT", c.setting)
			debug.SetMemoryLimit(c.before) // as Go's runtime reads GOMEMLIMIT
			limitMemory(c.limit)
			if got := GoMemory(); got != c.want {
				t.Errorf("limit %d, want %d", got, c.want)
			}
		})
	}
}

func TestMemory(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		limit memlimit.Provider
		want  int64
	}{
		"a limit":  {memlimit.Limit(512 << 20), 512 << 20},
		"no limit": {func() (uint64, error) { return 0, memlimit.ErrNoLimit }, 0},
		"huge":     {memlimit.Limit(math.MaxUint64), 0},
	} {
		if got := memory(c.limit); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// Go's garbage collection is a property of the process, so this test is not
// parallel.
func TestBallast(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(math.MaxInt64))
	none := func() (uint64, error) { return 0, memlimit.ErrNoLimit }
	for name, c := range map[string]struct {
		setting string // GOGC
		limit   memlimit.Provider
		own     int64 // Go's memory limit
		want    int
	}{
		"no limit":              {"", none, math.MaxInt64, 32 << 20},
		"a large container":     {"", memlimit.Limit(1 << 30), math.MaxInt64, 32 << 20},
		"a small container":     {"", memlimit.Limit(128 << 20), math.MaxInt64, 8 << 20},
		"a small GOMEMLIMIT":    {"", none, 64 << 20, 4 << 20},
		"the user has set GOGC": {"100", none, math.MaxInt64, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("GOGC", c.setting)
			debug.SetMemoryLimit(c.own)
			if got := len(ballast(c.limit)); got != c.want {
				t.Errorf("%d bytes, want %d", got, c.want)
			}
		})
	}
}
