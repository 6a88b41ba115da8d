package jobs

import (
	"time"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// Merge is what the job type does with one event.
func Merge(row *store.SignatureRequest, e *store.Event, told lumin.SignatureRequest) {
	merge(row, e, told)
}

// Sliced has r give up a slice of its periodic work after this time.
func (r *Reconcile) Sliced(slice time.Duration) { r.slice = slice }
