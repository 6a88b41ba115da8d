package worker

import (
	"context"
	"sync/atomic"
	"time"

	"lumin-ingest/store"
)

const (
	clockInterval = 10 * time.Second // between two readings
	clockTimeout  = 2 * time.Second  // of one reading

	// maxClockError is the largest error of a usable reading. The error is half
	// of the round trip.
	maxClockError = 500 * time.Millisecond
)

// databaseClock shows the time of the database's clock. River computes times
// with this machine's clock, and the database compares them with its own clock.
// Therefore they are translated: see clockDriver.
type databaseClock struct {
	reading atomic.Pointer[clockReading] // nil: not read yet; the clocks are assumed to agree
}

// clockReading pairs a time of the database with a time of this machine. The
// monotonic clock measures the time since, so a reading stays valid when this
// machine's clock is set.
type clockReading struct{ local, database time.Time }

// offset returns how far the database's clock is ahead of this machine's.
func (c *databaseClock) offset() time.Duration {
	r := c.reading.Load()
	if r == nil {
		return 0
	}
	return r.database.Add(time.Since(r.local)).Sub(time.Now().Round(0)) // Round(0) drops the monotonic time
}

// read asks the database for its time.
func (c *databaseClock) read(ctx context.Context, s *store.Store) error {
	ctx, cancel := context.WithTimeout(ctx, clockTimeout)
	defer cancel()
	offset, within, err := s.ClockOffset(ctx)
	if err != nil {
		return err
	}
	if within <= maxClockError {
		local := time.Now()
		c.reading.Store(&clockReading{local: local, database: local.Round(0).Add(offset)})
	}
	return nil
}

// readPeriodically reads the database's clock until ctx ends. After a failure
// the last reading stays in use, because clocks drift slowly.
func (c *databaseClock) readPeriodically(ctx context.Context, s *store.Store) {
	tick := time.NewTicker(clockInterval)
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
