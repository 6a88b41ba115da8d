// Package merge updates rows of lumin.signature_requests from events and from
// responses of Lumin's API.
//
// Every field of a row has a version: a string that sorts by the time at which
// Lumin reported the value. A field changes only to a value with a newer
// version. Therefore the result does not depend on the order of events and
// responses, or on repetitions.
package merge

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"lumin-ingest/lumin"
	"lumin-ingest/store/signaturerequest"
	"lumin-ingest/worker"
)

// Event updates the fields of row for which the event has newer values.
// reported is the decoded body of the event.
func Event(row *signaturerequest.Row, e *worker.Event, reported lumin.SignatureRequest) {
	if row.Versions == nil {
		row.Versions = map[string]string{}
	}
	version := eventVersion(e.Time, e.Type)
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
	update(row, version, reported)
}

// Response updates the fields of row for which a response of Lumin's API has
// newer values. asOf is the time of the response. The status must be nil or
// usable.
func Response(row *signaturerequest.Row, reported lumin.SignatureRequest, asOf time.Time) {
	update(row, responseVersion(asOf), reported)
}

// ResponseIsNewer reports whether a response of Lumin's API is newer than the
// value of a field.
func ResponseIsNewer(row *signaturerequest.Row, field string, reported lumin.SignatureRequest, asOf time.Time) bool {
	version := responseVersion(asOf)
	if field == "status" && reported.Status != nil {
		version = statusVersion(*reported.Status, version)
	}
	return version > row.Versions[field]
}

// update sets the fields of row that are older than version.
func update(row *signaturerequest.Row, version string, reported lumin.SignatureRequest) {
	if reported.Status != nil {
		text := string(*reported.Status)
		take(row.Versions, "status", statusVersion(*reported.Status, version), &row.Status, &text)
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

// UsableStatus reports whether a status fits into a row.
func UsableStatus(s *lumin.Status) bool { return s != nil && *s != "" && len(*s) <= maxStatus }

// reportedStatus returns the status from an event's body, or else the one that
// its type implies.
func reportedStatus(t lumin.EventType, reported lumin.SignatureRequest) (lumin.Status, bool) {
	if UsableStatus(reported.Status) {
		return *reported.Status, true
	}
	return t.ImpliedStatus()
}

// statusVersion returns the version of a status. A terminal status sorts after
// every other status, even one of a later event.
func statusVersion(s lumin.Status, version string) string {
	if s.Terminal() {
		return "1/" + version
	}
	return "0/" + version
}

// eventVersion returns a string that orders the events of one signature
// request: by time, then by their natural order, then by type so that no two
// are equal.
func eventVersion(at time.Time, t lumin.EventType) string {
	return fmt.Sprintf("%015d/%02d/%s", at.UnixMilli(), rank(t), t)
}

// responseVersion returns the version of a response of Lumin's API. It sorts
// before every event of the same millisecond.
func responseVersion(asOf time.Time) string { return fmt.Sprintf("%015d/00/", asOf.UnixMilli()) }

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

// SeenTypes returns event types that have set a field of the row. Each of these
// events was stored, although retention may have removed it since.
func SeenTypes(row signaturerequest.Row) (types []string) {
	for _, version := range row.Versions {
		if t := version[strings.LastIndex(version, "/")+1:]; t != "" && !slices.Contains(types, t) {
			types = append(types, t)
		}
	}
	return types
}
