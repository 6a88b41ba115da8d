package requeststate

import (
	"context"
	"fmt"

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

// WorkTx implements worker.Transactional.
func (JobType) WorkTx(ctx context.Context, tx pgx.Tx, e *worker.Event) error {
	var reported lumin.SignatureRequest // stays empty if the body was removed
	if e.Payload != nil {
		var err error
		if reported, err = lumin.DecodeSignatureRequest(e.Payload); err != nil {
			return fmt.Errorf("read the signature request of event %d: %w", e.ID, err)
		}
	}
	row, err := signaturerequest.Lock(ctx, tx, e.SignatureRequestID)
	if err != nil {
		return err
	}
	merge.Event(&row, e, reported)
	return signaturerequest.Update(ctx, tx, row)
}
