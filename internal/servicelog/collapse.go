package servicelog

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Bounds on how many causes are distinguished at a time. Failures of causes
// beyond maxCauses share a line per message and level, so that a caller who
// invents causes of one failure hides no other failure. Beyond maxMessages they
// share a line per level.
const (
	maxCauses   = 256
	maxMessages = 64
)

// Collapse is a [slog.Handler] that writes repeated failures once per cause and
// interval. A failure is a record of level WARN or above that states its cause
// in one of the attributes "error", "err", "reason", "code" and "panic". Two
// have the same cause if level, message and those attributes are the same.
// Numbers, ids and addresses make no difference, except in "code". "kind",
// "job_kind", "source", "tried" and "queue" distinguish causes, too. All other
// records pass unchanged.
//
// The first record of a cause is written at once. Repetitions within the
// interval are counted. At its end the latest of them is written with three
// more attributes: "repeated" is the count, "within" the interval, and
// "last_at" the record's own time.
type Collapse struct {
	inner slog.Handler
	known cause // from WithAttrs
	state *collapseState
}

// collapseState is shared by a handler and those derived from it.
type collapseState struct {
	interval time.Duration

	mu     sync.Mutex // held while repetitions are written, so that Close waits for them
	causes map[string]*repetition
	closed bool
}

// repetition is one cause within its current interval.
type repetition struct {
	timer   *time.Timer
	count   int // repetitions since the last line
	handler slog.Handler
	record  slog.Record // the latest
}

// NewCollapse returns a handler that writes to inner. The caller must Close it.
func NewCollapse(inner slog.Handler, interval time.Duration) *Collapse {
	return &Collapse{inner: inner, state: &collapseState{interval: interval, causes: map[string]*repetition{}}}
}

// Enabled implements [slog.Handler].
func (c *Collapse) Enabled(ctx context.Context, level slog.Level) bool {
	return c.inner.Enabled(ctx, level)
}

// WithAttrs implements [slog.Handler].
func (c *Collapse) WithAttrs(attrs []slog.Attr) slog.Handler {
	known := slices.Clone(c.known)
	for _, a := range attrs {
		known = known.with(a)
	}
	return &Collapse{inner: c.inner.WithAttrs(attrs), known: known, state: c.state}
}

// WithGroup implements [slog.Handler].
func (c *Collapse) WithGroup(name string) slog.Handler {
	return &Collapse{inner: c.inner.WithGroup(name), known: c.known, state: c.state}
}

// Handle implements [slog.Handler].
func (c *Collapse) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn {
		return c.inner.Handle(ctx, r)
	}
	of := slices.Clone(c.known)
	r.Attrs(func(a slog.Attr) bool {
		of = of.with(a)
		return true
	})
	if !of.stated() || !c.state.repeats(of.key(r), c.inner, r) {
		return c.inner.Handle(ctx, r)
	}
	return nil
}

// Close writes the repetitions counted so far. Later records pass unchanged.
func (c *Collapse) Close() {
	s := c.state
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, r := range s.causes {
		r.timer.Stop()
		r.write(s.interval)
	}
	s.causes = nil
}

// repeats reports whether the cause of the record was already written within
// the interval, and counts the record if so. Otherwise it starts an interval.
func (s *collapseState) repeats(key string, handler slog.Handler, record slog.Record) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.causes[key] == nil && len(s.causes) >= maxCauses {
		key, record = s.shared(record)
	}
	if r := s.causes[key]; r != nil {
		r.count++
		r.handler, r.record = handler, record.Clone()
		return true
	}
	r := &repetition{}
	r.timer = time.AfterFunc(s.interval, func() { s.tick(key, r) })
	s.causes[key] = r
	return false
}

// shared returns the key of a record whose cause is not distinguished, and the
// record that is written for its repetitions. It must be called with mu held.
func (s *collapseState) shared(of slog.Record) (key string, record slog.Record) {
	const message = "failures of further causes, which share this line"
	record = slog.NewRecord(of.Time, of.Level, message, 0)
	key = message + "\x00" + of.Level.String() + "\x00" + bounded(of.Message)
	if s.causes[key] == nil && len(s.causes) >= maxCauses+maxMessages {
		return message + "\x00" + of.Level.String(), record
	}
	record.AddAttrs(slog.String("message", of.Message))
	return key, record
}

// tick ends an interval. It writes the repetitions and begins the next
// interval, or forgets the cause if there were none.
func (s *collapseState) tick(key string, r *repetition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
	case r.count == 0:
		delete(s.causes, key)
	default:
		r.write(s.interval)
		r.timer.Reset(s.interval)
	}
}

// write writes the line about the repetitions, if there are any, and resets the
// count.
func (r *repetition) write(interval time.Duration) {
	if r.count == 0 {
		return
	}
	line := r.record.Clone()
	line.Time = time.Now()
	line.AddAttrs(slog.Int("repeated", r.count), slog.String("within", interval.String()), slog.Time("last_at", r.record.Time))
	_ = r.handler.Handle(context.Background(), line) // the error cannot be reported anywhere
	r.count = 0
}
