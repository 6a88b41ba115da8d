package signaturerequest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/signaturerequest"
)

func ends() []signaturerequest.End {
	return []signaturerequest.End{{"APPROVED", "approved"}, {"APPROVED", "downloadable"}, {"REJECTED", "declined"}, {"FAILED", "invalid"}}
}

// One call reads a bounded number of rows, even if none of them is to be listed.
func TestLackingNone(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Exec(t, s.Pool(), `INSERT INTO lumin.signature_requests (signature_request_id, gone_at) SELECT lpad(n::text, 6, '0'), now() FROM generate_series(1, 101000) n`)
	l, err := signaturerequest.Lacking(t.Context(), s.Pool(), ends(), "", time.Time{}, 1)
	if err != nil || len(l.IDs) != 0 || l.Next != "100000" {
		t.Errorf("%+v, %v", l, err)
	}
	if l, err = signaturerequest.Lacking(t.Context(), s.Pool(), ends(), l.Next, time.Time{}, 1); err != nil || l.Next != "" {
		t.Errorf("%+v, %v", l, err)
	}
}

// Open signature requests are listed, and those that lack an event of their end.
func TestLacking(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	since := time.Now().Add(-400 * 24 * time.Hour)
	storetest.Exec(t, s.Pool(), `
		INSERT INTO lumin.signature_requests (signature_request_id, status, updated_at, gone_at)
		SELECT 'done-' || n, 'REJECTED', now(), NULL FROM generate_series(1, 4500) n
		UNION ALL VALUES ('a-open', NULL, now(), NULL), ('b-open', 'NEW', now() - interval '500 days', NULL), ('b-gone', 'NEED_TO_SIGN', now(), now()),
		    ('c-full', 'APPROVED', now(), NULL), ('c-half', 'APPROVED', now(), NULL), ('c-none', 'APPROVED', NULL, NULL), ('c-old', 'APPROVED', now() - interval '500 days', NULL),
		    ('z-failed', 'FAILED', now(), NULL), ('z-none', 'REJECTED', now(), NULL)`)
	storetest.Exec(t, s.Pool(), `
		INSERT INTO lumin.events (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at)
		SELECT md5(id || type)::uuid, 'app:x', id, type, now(), '', '', '', 'k', now()
		FROM (SELECT 'done-' || n AS id, 'declined' AS type FROM generate_series(1, 4500) n
		      UNION ALL VALUES ('c-full', 'approved'), ('c-full', 'downloadable'), ('c-half', 'approved'), ('z-none', 'approved')) e`)
	var (
		found []string
		old   int
		after string
	)
	for pages := 0; pages < 20; pages++ {
		l, err := signaturerequest.Lacking(t.Context(), s.Pool(), ends(), after, since, 2)
		if err != nil {
			t.Fatal(err)
		}
		found, old, after = append(found, l.IDs...), old+l.TooOld, l.Next
		if after == "" {
			break
		}
	}
	if got, want := strings.Join(found, " "), "a-open b-open c-half c-none z-failed z-none"; got != want || old != 1 {
		t.Errorf("found %s and %d old ones, want %s and 1", got, old, want)
	}
	for id, want := range map[string]bool{"c-half": true, "c-none": false} {
		if has, err := signaturerequest.HasEvents(t.Context(), s.Pool(), id); err != nil || has != want {
			t.Errorf("%s has events: %t, %v", id, has, err)
		}
	}
	if types, err := signaturerequest.StoredTypes(t.Context(), s.Pool(), "c-half", []string{"approved", "downloadable"}); err != nil || fmt.Sprint(types) != "[approved]" {
		t.Errorf("%v, %v", types, err)
	}
}
