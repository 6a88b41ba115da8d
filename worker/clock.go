package worker

import (
	"context"
	"sync/atomic"
	"time"

	"lumin-ingest/store"
)

const (
	// clockEvery is how often the database's clock is read, and clockTimeout how
	// long it is waited for.
	clockEvery   = 10 * time.Second
	clockTimeout = 2 * time.Second

	// clockUnsure is how far a reading may be off: half of the round trip. A worse
	// one is not used.
	clockUnsure = 500 * time.Millisecond
)

// databaseClock knows what time it is for the database. River reckons with the
// clock of this machine and the database compares with its own, so the times that
// pass between them are translated: see clockDriver.
type databaseClock struct {
	reading atomic.Pointer[clockReading] // nil: not read yet, the same time is assumed
}

// clockReading is the time of the database at a moment of this machine. Time that
// passes afterwards is measured by the monotonic clock, so a reading stays right
// when this machine's clock is set.
type clockReading struct{ here, there time.Time }

// offset is how far the database's clock is ahead of this machine's.
func (c *databaseClock) offset() time.Duration {
	r := c.reading.Load()
	if r == nil {
		return 0
	}
	return r.there.Add(time.Since(r.here)).Sub(time.Now().Round(0)) // Round(0): by the clock on the wall
}

// read asks the database for its time.
func (c *databaseClock) read(ctx context.Context, s *store.Store) error {
	ctx, cancel := context.WithTimeout(ctx, clockTimeout)
	defer cancel()
	offset, within, err := s.ClockOffset(ctx)
	if err != nil {
		return err
	}
	if within <= clockUnsure {
		here := time.Now()
		c.reading.Store(&clockReading{here: here, there: here.Round(0).Add(offset)})
	}
	return nil
}

// follow reads the database's clock until ctx ends. A failure keeps what is known:
// clocks drift slowly.
func (c *databaseClock) follow(ctx context.Context, s *store.Store) {
	tick := time.NewTicker(clockEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = c.read(ctx, s)
		}
	}
}
