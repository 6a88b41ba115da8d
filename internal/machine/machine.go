// Package machine reads what the program may use: processors and memory, as the
// limits of its container say, or else the machine.
//
//	machine.LimitMemory()    // first of all
//	workers := 2 * machine.CPUs()
//	if limit := machine.Memory(); limit > 0 {
//		buffers = min(buffers, limit/8)
//	}
//
// Use it for defaults that follow the machine. It guarantees that a value which
// the user has set for Go's runtime (GOMAXPROCS, GOMEMLIMIT) stays.
package machine

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// memoryShare is the share of the container's memory that Go's runtime may fill
// before it collects garbage more often. The rest is for what Go does not count,
// such as the program's own code.
const memoryShare = 0.9

// LimitMemory sets Go's memory limit (GOMEMLIMIT) to 90 % of the container's,
// unless the environment has GOMEMLIMIT. Without a container limit there is none.
func LimitMemory() { limitMemory(memlimit.FromCgroup) }

// limitMemory ignores errors of the library: where it cannot read limits, such
// as outside Linux, there are none.
func limitMemory(limit memlimit.Provider) {
	if os.Getenv("GOMEMLIMIT") == "" {
		_ = os.Unsetenv("GOMEMLIMIT") // the library would regard an empty value as a wish for no limit
	}
	_, _ = memlimit.Set(memlimit.WithRatio(memoryShare), memlimit.WithProvider(limit))
}

// Memory returns the memory limit of the container in bytes; 0 means that there
// is none.
func Memory() int64 { return memory(memlimit.FromCgroup) }

func memory(limit memlimit.Provider) int64 {
	bytes, err := limit()
	if err != nil || bytes > math.MaxInt64 {
		return 0
	}
	return int64(bytes)
}

// GoMemory returns Go's memory limit in bytes; 0 means that there is none.
func GoMemory() int64 {
	limit := debug.SetMemoryLimit(-1)
	if limit == math.MaxInt64 {
		return 0
	}
	return limit
}

// CPUs returns the number of processors that the program uses: GOMAXPROCS. Go
// takes it from the processors of the machine and the limit of the container,
// rounds a part of a processor up, and takes at least two where the machine has
// them.
func CPUs() int { return runtime.GOMAXPROCS(0) }
