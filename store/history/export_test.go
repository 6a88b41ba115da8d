package history

import "time"

// SetNow sets the clock of a Writer.
func (w *Writer) SetNow(now func() time.Time) { w.now = now }

// Rows returns the number of rows in memory.
func (w *Writer) Rows() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.deliveries) + len(w.attempts)
}

// MergeAfter is the age at which the rows of a minute are merged.
const MergeAfter = mergeAfter

// KeptFor is how long counts stay in memory.
const KeptFor = keptFor
