package reconcile

import (
	"time"

	"lumin-ingest/lumin"
	"lumin-ingest/store/signaturerequest"
	"lumin-ingest/worker/jobs/internal/merge"
)

// differences returns the fields whose values at Lumin differ. It skips fields
// that an event newer than the response has set.
func differences(row *signaturerequest.Row, reported lumin.SignatureRequest, asOf time.Time) []Difference {
	var status *string
	if reported.Status != nil {
		status = new(string(*reported.Status))
	}
	var found []Difference
	add := func(field string, differ bool, ours, lumins string) {
		if differ && merge.ResponseIsNewer(row, field, reported, asOf) {
			found = append(found, Difference{SignatureRequestID: row.ID, Field: field, Ours: ours, Lumins: lumins})
		}
	}
	add("status", status != nil && !same(row.Status, status), shown(row.Status), shown(status))
	add("signing_type", reported.SigningType != nil && !same(row.SigningType, reported.SigningType), shown(row.SigningType), shown(reported.SigningType))
	add("expires_at", reported.ExpiresAt != nil && (row.ExpiresAt == nil || !row.ExpiresAt.Equal(*reported.ExpiresAt)), shownTime(row.ExpiresAt), shownTime(reported.ExpiresAt))
	add("title", reported.Title != nil && !same(row.Title, reported.Title), "", "")
	add("reason", reported.Reason != nil && !same(row.Reason, reported.Reason), "", "")
	return found
}

func same(a, b *string) bool { return a != nil && b != nil && *a == *b }

func shown(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func shownTime(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
