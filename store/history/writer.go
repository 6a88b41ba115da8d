package history

import (
	"sync"
	"time"
)

// Delivery is a request to the public listener that was answered.
type Delivery struct {
	Source   string // a configured one, or "unknown"
	Result   string // as in the metric lumin_deliveries_total
	Reason   string // the code of a response other than 200; otherwise empty
	Verified bool   // the signature was valid

	// Took is the time from the header of the request to the answer. It counts
	// only for a verified delivery, because other callers could distort it.
	Took time.Duration
}

// Attempt is an attempt of a job that has ended.
type Attempt struct {
	Kind    string // of the job: a registered one
	Outcome string // as in the metric lumin_attempts_total

	// Worked is the duration of the attempt. Negative: it was not measured.
	Worked time.Duration

	// Effect is the time from the receipt of the event to the commit of its
	// effect. Negative: the attempt had no effect, or a replay asked for it.
	Effect time.Duration
}

// keptFor is how long counts stay in memory: also those that are written, in case a
// clock is set back into their minute, because a row is written with the whole count of
// its minute. It is shorter than mergeAfter, so a minute is written before it is merged.
const keptFor = 10 * time.Minute

// Writer counts deliveries and attempts. Its methods are safe for concurrent use.
// Its memory is bounded by the number of sources, results and kinds.
type Writer struct {
	program  [16]byte
	flushing sync.Mutex // held by Flush

	mu         sync.Mutex
	clock      databaseClock
	now        func() time.Time // of clock, other in tests
	deliveries counts[deliveryKey]
	attempts   counts[attemptKey]
}

// deliveryKey is the key of a row of lumin.delivery_minutes.
type deliveryKey struct {
	minute                 int64 // since 1970
	source, result, reason string
}

// attemptKey is the key of a row of lumin.attempt_minutes.
type attemptKey struct {
	minute        int64
	kind, outcome string
}

func (k deliveryKey) at() int64 { return k.minute }
func (k attemptKey) at() int64  { return k.minute }

// counts are rows of one table.
type counts[K interface {
	comparable
	at() int64
}] map[K]*count

// count is what a row counts in one minute.
type count struct {
	n      int64
	took   Times // to answer, or to work
	effect Times // of attempts only

	unwritten bool // the database has older values
}

// NewWriter returns a Writer for a program. Of all programs that write at the
// same time, each needs an id of its own, such as that of its row in
// lumin.programs.
func NewWriter(program [16]byte) *Writer {
	w := &Writer{program: program, clock: databaseClock{machine: time.Now}, deliveries: counts[deliveryKey]{}, attempts: counts[attemptKey]{}}
	w.now = w.clock.now
	return w
}

// Delivery counts a delivery.
func (w *Writer) Delivery(d Delivery) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.deliveries.row(deliveryKey{w.minute(), d.Source, d.Result, d.Reason})
	if d.Verified {
		c.took.Observe(d.Took)
	}
}

// Attempt counts an attempt.
func (w *Writer) Attempt(a Attempt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.attempts.row(attemptKey{w.minute(), a.Kind, a.Outcome})
	if a.Worked >= 0 {
		c.took.Observe(a.Worked)
	}
	if a.Effect >= 0 {
		c.effect.Observe(a.Effect)
	}
}

// minute returns the current minute. w.mu must be held, so that no minute ends between
// this and its use.
func (w *Writer) minute() int64 { return w.now().Unix() / 60 }

// row returns the row of a key, and counts one.
func (c counts[K]) row(key K) *count {
	row := c[key]
	if row == nil {
		row = &count{}
		c[key] = row
	}
	row.n++
	row.unwritten = true
	return row
}

// take returns a copy of each row that was not written, and assumes that it will
// be written now.
func (c counts[K]) take() map[K]count {
	taken := map[K]count{}
	for key, row := range c {
		if row.unwritten {
			row.unwritten = false
			taken[key] = *row
		}
	}
	return taken
}

// giveBack undoes take.
func (c counts[K]) giveBack(taken map[K]count) {
	for key := range taken {
		if row := c[key]; row != nil {
			row.unwritten = true
		}
	}
}

// forget removes the rows of minutes that are too old.
func (c counts[K]) forget(minute int64) {
	for key := range c {
		if time.Duration(minute-key.at())*time.Minute > keptFor {
			delete(c, key)
		}
	}
}
