//go:build unix

package subject

import (
	"context"
	"errors"
	"os"
	"time"

	"lumin-ingest/internal/faults"
	"lumin-ingest/lumin"
	"lumin-ingest/worker"
)

// addPoison adds the misbehaving job types if PoisonVariable names a
// file. They misbehave for some events while that file exists. Without it they
// do nothing, so a replay cures them.
func addPoison(registry *worker.Registry) {
	file := os.Getenv(faults.PoisonVariable)
	if file == "" {
		return
	}
	registry.Add(poison{kind: faults.PanicKind, file: file, of: 32, misbehave: func() error { panic("a job type with a defect") }})
	registry.Add(poison{kind: faults.NULKind, file: file, of: 32, misbehave: func() error { return errors.New("a text with \x00 in it") }})
	registry.Add(poison{kind: faults.HangKind, file: file, of: 128, misbehave: func() error {
		time.Sleep(hangFor)
		return errors.New("after its time")
	}})
}

// hangFor is how long a job ignores its context, which ends long before.
const hangFor = 8 * time.Second

// poison misbehaves for one event of so many.
type poison struct {
	worker.Defaults
	kind, file string
	of         uint16
	misbehave  func() error
}

func (p poison) Kind() string            { return p.kind }
func (poison) Events() []lumin.EventType { return []lumin.EventType{lumin.AnyEvent} }
func (poison) MaxAttempts() int          { return 2 }
func (poison) Timeout() time.Duration    { return 2 * time.Second }
func (poison) Backoff(int) time.Duration { return time.Second }

func (p poison) Work(_ context.Context, e *worker.Event) error {
	if _, err := os.Stat(p.file); err != nil || (uint16(e.Key[14])<<8|uint16(e.Key[15]))%p.of != 0 {
		return nil
	}
	return p.misbehave()
}
