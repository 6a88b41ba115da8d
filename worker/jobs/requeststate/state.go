package requeststate

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/lumin"
	"lumin-ingest/store/signaturerequest"
	"lumin-ingest/worker"
	"lumin-ingest/worker/jobs/internal/merge"
)

// JobType is the job type signature_request_state. The package documentation
// has its rules.
type JobType struct{ worker.Defaults }

// Kind implements worker.JobType.
func (JobType) Kind() string { return "signature_request_state" }

// Events implements worker.JobType.
func (JobType) Events() []lumin.EventType { return []lumin.EventType{lumin.AnyEvent} }

// decoded is an event with its decoded body.
type decoded struct {
	event    *worker.Event
	reported lumin.SignatureRequest // empty if the body was removed
}

// WorkBatch implements worker.Batch. It takes two round trips for all events
// together.
func (JobType) WorkBatch(ctx context.Context, tx pgx.Tx, events []*worker.Event) error {
	byRequest := make(map[string][]decoded, len(events))
	for _, e := range events {
		d := decoded{event: e}
		if e.Payload != nil {
			var err error
			if d.reported, err = lumin.DecodeSignatureRequest(e.Payload); err != nil {
				return fmt.Errorf("read the signature request of event %d: %w", e.ID, err)
			}
		}
		byRequest[e.SignatureRequestID] = append(byRequest[e.SignatureRequestID], d)
	}
	ids := slices.Sorted(maps.Keys(byRequest))
	return signaturerequest.Merge(ctx, tx, ids, func(row *signaturerequest.Row) {
		for _, d := range byRequest[row.ID] {
			merge.Event(row, d.event, d.reported)
		}
	})
}
