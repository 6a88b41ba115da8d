package window_test

import (
	"testing"

	"lumin-ingest/admin/window"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store"
)

// An event that retention removes while a story is read is left out.
func TestRemovedEventIsLeftOut(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t, pgtest.New(t))
	st, err := store.New(pool, nil)
	if err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, pool, `
		INSERT INTO lumin.events (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at)
		VALUES (gen_random_uuid(), 'account', 'r-1', 'signature_request_signed', now(), '', '', '', 'k', now())`)
	events, err := window.New(st).Details(t.Context(), []store.EventSummary{{ID: 1}, {ID: 99}})
	if err != nil || len(events) != 1 || events[0].ID != 1 {
		t.Errorf("%+v, %v", events, err)
	}
}
