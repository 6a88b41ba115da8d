package machine

import (
	"errors"
	"math"
	"os"
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
			if c.setting == "" {
				os.Unsetenv("GOMEMLIMIT") // t.Setenv restores it
			}
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
