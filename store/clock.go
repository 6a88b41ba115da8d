package store

import (
	"context"
	"fmt"
	"time"
)

// ClockOffset returns how far the database's clock is ahead of this machine's
// clock. The error is at most within, half of the shortest of three round
// trips.
func (s *Store) ClockOffset(ctx context.Context) (offset, within time.Duration, err error) {
	for try := range 3 {
		var there time.Time
		start := time.Now()
		if err := s.pool.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&there); err != nil {
			return 0, 0, fmt.Errorf("read the database's clock: %w", err)
		}
		half := time.Since(start) / 2
		if try == 0 || half < within {
			offset, within = there.Sub(start.Add(half)), half
		}
	}
	return offset, within, nil
}

// Now returns the time of the database's clock. Retention uses it for ages: a
// machine whose clock is years ahead would otherwise remove every event.
func (s *Store) Now(ctx context.Context) (now time.Time, err error) {
	if err := s.pool.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&now); err != nil {
		return now, fmt.Errorf("read the database's clock: %w", err)
	}
	return now, nil
}
