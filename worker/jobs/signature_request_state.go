package jobs

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/worker"
)

// SignatureRequestState keeps lumin.signature_requests: one row with the latest
// known state of each signature request, whatever order its events arrive in.
//
// Each field follows the newest event that tells it. A terminal status gives way
// only to a newer terminal one.
type SignatureRequestState struct{ worker.Defaults }

// Kind implements worker.JobType.
func (SignatureRequestState) Kind() string { return "signature_request_state" }

// Events implements worker.JobType.
func (SignatureRequestState) Events() []lumin.EventType { return []lumin.EventType{lumin.AnyEvent} }

// WorkTx implements worker.Transactional.
func (SignatureRequestState) WorkTx(ctx context.Context, tx pgx.Tx, e *store.Event) error {
	var told lumin.SignatureRequest // of a removed body only type and time are left
	if e.Payload != nil {
		var err error
		if told, err = lumin.DecodeSignatureRequest(e.Payload); err != nil {
			return fmt.Errorf("read the signature request of event %d: %w", e.ID, err)
		}
	}
	row, err := store.LockSignatureRequest(ctx, tx, e.SignatureRequestID)
	if err != nil {
		return err
	}
	merge(&row, e, told)
	return store.UpdateSignatureRequest(ctx, tx, row)
}

// merge takes from an event what is newer than what row holds. The result of
// merging several events does not depend on their order, nor on how often one of
// them is merged.
func merge(row *store.SignatureRequest, e *store.Event, told lumin.SignatureRequest) {
	if row.Versions == nil {
		row.Versions = map[string]string{}
	}
	version := versionOf(e.Time, e.Type)
	eventType, eventTime := string(e.Type), e.Time
	take(row.Versions, "last_event_type", version, &row.LastEventType, &eventType)
	take(row.Versions, "last_event_time", version, &row.LastEventTime, &eventTime)
	if row.GoneAt != nil && e.ReceivedAt.After(*row.GoneAt) {
		row.GoneAt = nil // Lumin has it after all
	}
	if status, ok := statusTold(e.Type, told); ok {
		told.Status = &status
	} else {
		told.Status = nil
	}
	mergeTold(row, version, told)
}

// mergeTold takes what is told of a signature request by something of the given
// version.
func mergeTold(row *store.SignatureRequest, version string, told lumin.SignatureRequest) {
	if told.Status != nil {
		text, finality := string(*told.Status), "0/"
		if told.Status.Terminal() {
			finality = "1/"
		}
		take(row.Versions, "status", finality+version, &row.Status, &text)
	}
	take(row.Versions, "title", version, &row.Title, told.Title)
	take(row.Versions, "reason", version, &row.Reason, told.Reason)
	take(row.Versions, "signing_type", version, &row.SigningType, told.SigningType)
	take(row.Versions, "created_at", version, &row.CreatedAt, told.CreatedAt)
	take(row.Versions, "updated_at", version, &row.UpdatedAt, told.UpdatedAt)
	take(row.Versions, "expires_at", version, &row.ExpiresAt, told.ExpiresAt)
}

// take sets a field to what an event tells of it, if that is newer.
func take[T any](versions map[string]string, field, version string, to **T, told *T) {
	if told != nil && version > versions[field] {
		*to, versions[field] = told, version
	}
}

// maxStatus is the length of what can be a status, in bytes. The column is
// indexed, and PostgreSQL refuses index entries of more than some 2,700 bytes.
const maxStatus = 255

// statusTold is the status that an event's body names, or else the one that its
// type implies.
func statusTold(t lumin.EventType, told lumin.SignatureRequest) (lumin.Status, bool) {
	if usableStatus(told.Status) {
		return *told.Status, true
	}
	return t.ImpliedStatus()
}

func usableStatus(s *lumin.Status) bool { return s != nil && *s != "" && len(*s) <= maxStatus }

// versionOf orders the events of one signature request, as text: by time, then
// by what must have happened first, then by type so that no two are equal.
func versionOf(at time.Time, t lumin.EventType) string {
	return fmt.Sprintf("%015d/%02d/%s", at.UnixMilli(), rank(t), t)
}

// rank orders events of the same millisecond.
func rank(t lumin.EventType) int {
	switch t {
	case lumin.SignatureRequestCreated:
		return 1
	case lumin.SignatureRequestViewed:
		return 3
	case lumin.SignatureRequestSigned:
		return 4
	case lumin.SignatureRequestDueDateUpdated:
		return 5
	case lumin.SignatureRequestCancelFailed:
		return 6
	case lumin.SignatureRequestApproved:
		return 7
	case lumin.SignatureRequestDeclined:
		return 8
	case lumin.SignatureRequestInvalid:
		return 9
	case lumin.SignatureRequestCanceled:
		return 10
	case lumin.SignatureRequestDownloadable:
		return 11
	default: // undocumented, such as signature_request_sent
		return 2
	}
}
