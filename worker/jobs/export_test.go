package jobs

import (
	"time"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/store/signaturerequest"
)

// Merge merges one event into a row, as the job type does.
func Merge(row *signaturerequest.Row, e *store.Event, reported lumin.SignatureRequest) {
	merge(row, e, reported)
}

// Sliced limits each slice of the periodic work to this duration.
func (r *Reconcile) Sliced(slice time.Duration) { r.slice = slice }
