package app

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"time"

	"lumin-ingest/admin/window"
	"lumin-ingest/store/operate"
)

const (
	// surelyTimeout is how long an order is repeated while its end is not known.
	surelyTimeout = 30 * time.Second

	// surelyPoll is the time between two attempts.
	surelyPoll = time.Second
)

// newToken returns the mark of an order. An order with the same mark is stored once.
func newToken() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}

// surely places an order that has a mark, and places it again while the connection to
// the database fails and the order may be stored. The client of a server does that
// on its own.
func surely(ctx context.Context, w operatorWindow, place func() (id int64, err error)) (int64, error) {
	id, err := place()
	if _, direct := w.(*window.Window); !direct || !errors.Is(err, operate.ErrInDoubt) {
		return id, err
	}
	for start := time.Now(); time.Since(start) < surelyTimeout; {
		select {
		case <-ctx.Done():
			return id, err
		case <-time.After(surelyPoll):
		}
		again, failed := place()
		if failed == nil || errors.Is(failed, operate.ErrNoOutcome) {
			return again, failed
		}
		if !transient(failed) {
			break
		}
	}
	return id, err
}
