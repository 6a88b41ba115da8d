package worker

import (
	"context"
	"sync/atomic"
	"time"

	"lumin-ingest/store"
)

const (
	// clockEvery is how often the database's clock is read, and clockTimeout bounds
	// one reading.
	clockEvery   = 10 * time.Second
	clockTimeout = 2 * time.Second

	// clockUnsure is the largest error of a usable reading. The error is half of the
	// round trip.
	clockUnsure = 500 * time.Millisecond
)

// databaseClock knows the time of the database's clock. River computes times with
// this machine's clock and the database compares them with its own, so they are
// translated: see clockDriver.
type databaseClock struct {
	reading atomic.Pointer[clockReading] // nil: not read yet; the clocks are assumed to agree
}

// clockReading pairs a time of the database with a time of this machine. The
// monotonic clock measures the time since, so a reading stays valid when this
// machine's clock is set.
type clockReading struct{ here, there time.Time }

// offset is how far the database's clock is ahead of this machine's.
func (c *databaseClock) offset() time.Duration {
	r := c.reading.Load()
	if r == nil {
		return 0
	}
	return r.there.Add(time.Since(r.here)).Sub(time.Now().Round(0)) // Round(0) drops the monotonic time
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

// follow reads the database's clock until ctx ends. After a failure the last reading
// stays in use, because clocks drift slowly.
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
