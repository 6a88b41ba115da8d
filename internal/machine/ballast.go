package machine

import (
	"os"
	"runtime"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// The ballast of a program without a memory limit, and the largest share of a
// limit.
const (
	ballastSize  = 32 << 20
	ballastShare = 16
)

// CollectLess has Go collect garbage less often until stop is called. Go lets the
// heap grow to twice its live size, so a program with a live heap of a few MiB
// collects at each few MiB of garbage. The ballast counts as live: with it, tens of
// MiB of garbage may gather. A large live heap grows no further than before, unlike
// with a higher GOGC. If the environment has GOGC, nothing changes.
//
// The ballast is not touched, so the operating system gives no memory for it.
func CollectLess() (stop func()) {
	held := ballast(memlimit.FromCgroup)
	return func() { runtime.KeepAlive(held) }
}

func ballast(limit memlimit.Provider) []byte {
	if os.Getenv("GOGC") != "" {
		return nil
	}
	size := int64(ballastSize)
	for _, limit := range []int64{memory(limit), GoMemory()} {
		if limit > 0 {
			size = min(size, limit/ballastShare)
		}
	}
	return make([]byte, size)
}
