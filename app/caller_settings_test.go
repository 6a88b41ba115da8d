package app

import (
	"testing"

	"lumin-ingest/internal/machine"
)

// The default follows the memory of the container, and a setting wins.
func TestMaxBodyMemory(t *testing.T) {
	t.Parallel()
	const mebibyte = 1 << 20
	for _, c := range []struct{ container, want int64 }{
		{0, 64}, {4096, 64}, {512, 64}, {256, 32}, {128, 16}, {16, 4},
	} {
		if got := bodyMemoryOf(c.container * mebibyte); got != c.want*mebibyte {
			t.Errorf("in %d MiB: %d bytes, want %d MiB", c.container, got, c.want)
		}
	}
	for setting, want := range map[string]int64{"": bodyMemoryOf(machine.Memory()), "5MiB": 5 * mebibyte, "1GiB": 1024 * mebibyte} {
		if got, err := (callerSettings{MaxBodyMemory: setting}).maxBodyMemory(); err != nil || got != want {
			t.Errorf("MAX_BODY_MEMORY=%q: %d bytes, %v; want %d", setting, got, err, want)
		}
	}
}
