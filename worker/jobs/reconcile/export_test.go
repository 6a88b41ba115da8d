package reconcile

import "time"

// Sliced limits each slice of the periodic work to this duration.
func (r *Reconciler) Sliced(slice time.Duration) { r.slice = slice }
