package history

import "time"

// SetNow makes a Writer take the time of this function for that of the database.
func (w *Writer) SetNow(now func() time.Time) { w.now = now }

// SetMachine sets the clock of the machine of a Writer.
func (w *Writer) SetMachine(now func() time.Time) { w.clock.machine = now }

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
