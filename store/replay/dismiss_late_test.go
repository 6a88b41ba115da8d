package replay_test

import (
	"regexp"
	"strconv"
	"testing"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store/catalog"
	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/replay"
)

// Late events are dismissed in pages. A page may end within the job types of an event,
// and does not read the events of the pages before it.
func TestDismissLatePages(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	const events = 2000 // three runs each: more than a page, and no page ends with an event
	storetest.Exec(t, s.Pool(), `
		INSERT INTO lumin.events (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at, late)
		SELECT gen_random_uuid(), 'account', 'request-' || n, 'signature_request_signed', now(), '', '', '', 'k', now(), true
		FROM generate_series(1, $1::int) n`, events)
	storetest.Exec(t, s.Pool(), `ANALYZE lumin.events`)
	if _, err := catalog.AddJobTypes(t.Context(), s.Pool(), []catalog.JobType{
		{Kind: "a", Queue: "default"}, {Kind: "b", Queue: "default"}, {Kind: "c", Queue: "default"},
	}); err != nil {
		t.Fatal(err)
	}
	if n, err := replay.New(s).Dismiss(t.Context(), replay.Filter{Status: replay.Late}, "done by hand", "ann"); err != nil || n != 3*events {
		t.Errorf("dismissed %d, %v, want %d", n, err, 3*events)
	}
	last := storetest.Value[int64](t, s.Pool(), `SELECT max(id) FROM lumin.events`)
	sql, args := replay.DismissLateQuery(last - 9)
	plan := explained(t, pgtest.Conn(t, s.Pool().Config().ConnString()), "", sql, args)
	read := regexp.MustCompile(`on events e .*actual rows=(\d+)`).FindStringSubmatch(plan)
	if read == nil {
		t.Fatalf("no scan of events:\n%s", plan)
	}
	if n, err := strconv.Atoi(read[1]); err != nil || n != 10 {
		t.Errorf("a page from the last ten events on reads %d of them:\n%s", n, plan)
	}
}
