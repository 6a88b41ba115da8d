package jobs

import (
	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// Merge is what the job type does with one event.
func Merge(row *store.SignatureRequest, e *store.Event, told lumin.SignatureRequest) {
	merge(row, e, told)
}
