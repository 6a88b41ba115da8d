package recovery

import (
	"time"

	"lumin-ingest/lumin"
)

// Sliced limits each slice of the periodic work to this duration.
func (r *Recoverer) Sliced(slice time.Duration) { r.slice = slice }

// Listed limits how many signature requests are listed at once.
func (r *Recoverer) Listed(n int) { r.listed = n }

// Clock gives the periodic work another clock.
func (r *Recoverer) Clock(clock func() time.Time) { r.clock = clock }

// Payload returns the body of a recovered event.
func Payload(e lumin.Envelope, object []byte) ([]byte, error) {
	return payload(e, object, origin{At: 1700000000000, By: `ann "the operator"`, API: "https://api.example.com/v1"})
}
