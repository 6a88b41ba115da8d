package jobs

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/store/signaturerequest"
	"lumin-ingest/worker"
)

// SignatureRequestState keeps lumin.signature_requests: one row with the latest
// known state of each signature request, whatever order its events arrive in.
//
// Each field has the value from the newest event that reports it. A terminal
// status is replaced only by a newer terminal one. The package documentation
// has the full rules.
type SignatureRequestState struct{ worker.Defaults }

// Kind implements worker.JobType.
func (SignatureRequestState) Kind() string { return "signature_request_state" }

// Events implements worker.JobType.
func (SignatureRequestState) Events() []lumin.EventType { return []lumin.EventType{lumin.AnyEvent} }

// WorkTx implements worker.Transactional.
func (SignatureRequestState) WorkTx(ctx context.Context, tx pgx.Tx, e *store.Event) error {
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
	merge(&row, e, reported)
	return signaturerequest.Update(ctx, tx, row)
}

// merge updates the fields of row for which the event has newer values. The
// result of merging several events does not depend on their order or on
// repetitions.
func merge(row *signaturerequest.Row, e *store.Event, reported lumin.SignatureRequest) {
	if row.Versions == nil {
		row.Versions = map[string]string{}
	}
	version := versionOf(e.Time, e.Type)
	eventType, eventTime := string(e.Type), e.Time
	take(row.Versions, "last_event_type", version, &row.LastEventType, &eventType)
	take(row.Versions, "last_event_time", version, &row.LastEventTime, &eventTime)
	if row.GoneAt != nil && e.ReceivedAt.After(*row.GoneAt) {
		row.GoneAt = nil // the event shows that Lumin has it
	}
	if status, ok := reportedStatus(e.Type, reported); ok {
		reported.Status = &status
	} else {
		reported.Status = nil
	}
	mergeReported(row, version, reported)
}

// mergeReported updates the fields of row that are older than version.
func mergeReported(row *signaturerequest.Row, version string, reported lumin.SignatureRequest) {
	if reported.Status != nil {
		text, finality := string(*reported.Status), "0/"
		if reported.Status.Terminal() {
			finality = "1/"
		}
		take(row.Versions, "status", finality+version, &row.Status, &text)
	}
	take(row.Versions, "title", version, &row.Title, reported.Title)
	take(row.Versions, "reason", version, &row.Reason, reported.Reason)
	take(row.Versions, "signing_type", version, &row.SigningType, reported.SigningType)
	take(row.Versions, "created_at", version, &row.CreatedAt, reported.CreatedAt)
	take(row.Versions, "updated_at", version, &row.UpdatedAt, reported.UpdatedAt)
	take(row.Versions, "expires_at", version, &row.ExpiresAt, reported.ExpiresAt)
}

// take sets a field to the reported value if version is newer than the field's.
func take[T any](versions map[string]string, field, version string, to **T, reported *T) {
	if reported != nil && version > versions[field] {
		*to, versions[field] = reported, version
	}
}

// maxStatus is the maximum length of a status, in bytes. The column is indexed,
// and PostgreSQL refuses index entries of more than about 2,700 bytes.
const maxStatus = 255

// reportedStatus returns the status from an event's body, or else the one that
// its type implies.
func reportedStatus(t lumin.EventType, reported lumin.SignatureRequest) (lumin.Status, bool) {
	if usableStatus(reported.Status) {
		return *reported.Status, true
	}
	return t.ImpliedStatus()
}

func usableStatus(s *lumin.Status) bool { return s != nil && *s != "" && len(*s) <= maxStatus }

// versionOf returns a string that orders the events of one signature request:
// by time, then by their natural order, then by type so that no two are equal.
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
