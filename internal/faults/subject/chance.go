//go:build unix

package subject

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"lumin-ingest/internal/faults"
	"lumin-ingest/worker"
)

// chance decides which runs fail. A seed and the run decide, so the order in which
// the runs are worked does not matter.
type chance struct {
	seed   string
	steady bool // no run fails

	mu     sync.Mutex
	failed map[run]bool // those that must succeed next time
}

// run is a run, with the number of its repetition.
type run struct {
	event, kind string
	rerun       int
}

func newChance(seed string, steady bool) *chance {
	return &chance{seed: seed, steady: steady, failed: map[run]bool{}}
}

// draw returns the random numbers of a run for one purpose.
func (c *chance) draw(e *worker.Event, purpose string) *rand.Rand {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %s %s %d", c.seed, purpose, e.Key, e.JobKind, e.Rerun))
	return rand.New(rand.NewPCG(binary.BigEndian.Uint64(sum[:8]), binary.BigEndian.Uint64(sum[8:16])))
}

// coin makes seven of a hundred runs fail once in each process: two for good, until
// a replay, and five for one attempt.
func (c *chance) coin(e *worker.Event) error {
	n := c.draw(e, "fail").IntN(100)
	if c.steady || n >= 7 {
		return nil
	}
	one := run{e.Key.String(), e.JobKind, e.Rerun}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed[one] {
		delete(c.failed, one)
		return nil
	}
	c.failed[one] = true
	if n < 2 {
		return worker.JobFail(errors.New(faults.FailText))
	}
	return errors.New(faults.RetryText)
}
