package pages_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// manyEventsSQL stores $1 events of as many milliseconds, each with two runs.
const manyEventsSQL = `
WITH e AS (
    INSERT INTO lumin.events (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at)
    SELECT (lpad(to_hex(1760000000000 + n), 12, '0') || '8' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid,
           CASE WHEN n % 3 = 0 THEN 'app:crm' ELSE 'account' END, md5((n / 4)::text), 'signature_request_' || (ARRAY['created','viewed','signed','approved'])[1 + n % 4],
           to_timestamp((1760000000000 + n) / 1000.0), convert_to('{"signature_request":{"title":"' || n || '"}}', 'UTF8'), '\x00', '\x00', 'key-' || n * 3 / $1, to_timestamp((1760000000000 + n) / 1000.0)
    FROM generate_series(1, $1::bigint) n RETURNING id, event_key, received_at
)
INSERT INTO lumin.runs (event_key, job_kind, event_id, job_id, state, error, finished_at, pending_since)
SELECT e.event_key, k, e.id, e.id, s.state, CASE WHEN s.state = 'failed' THEN 'error ' || e.id % 7 END, CASE WHEN s.state <> 'pending' THEN e.received_at END, e.received_at
FROM e, unnest('{book,send}'::text[]) k,
     LATERAL (SELECT CASE WHEN e.id % 97 = 0 THEN 'failed' WHEN e.id % 9973 = 0 THEN 'pending' ELSE 'succeeded' END AS state) s`

// On many events, each page answers within 50 ms for 99 of 100 requests.
func TestSpeed(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("LUMIN_TEST_EVENTS"))
	if err != nil {
		t.Skip("LUMIN_TEST_EVENTS is not set: it is the number of events, such as 1000000")
	}
	r := newRig(t)
	r.register(false, "book", "send", "none")
	r.exec(manyEventsSQL, n)
	r.exec(`VACUUM ANALYZE lumin.events`)
	r.exec(`VACUUM ANALYZE lumin.runs`)
	r.exec(`INSERT INTO lumin.replays (ordered_by, reason, status) VALUES ('ann', 'test', 'failed')`)
	r.exec(`INSERT INTO lumin.redeliveries (event_id, payload_sha256, payload, differs, count, first_at, last_at)
		SELECT id, decode(md5(id::text), 'hex'), payload || ' ', 'content', 1, now(), now() FROM lumin.events WHERE id % 1000 = 0`)
	conflict := r.value(`SELECT '/events/' || event_id || '/conflicts/' || encode(payload_sha256, 'hex') FROM lumin.redeliveries LIMIT 1`)
	request := r.value(`SELECT signature_request_id FROM lumin.events WHERE id = ` + strconv.Itoa(n/2))
	fingerprint := r.value(`SELECT max(error_fingerprint) FROM lumin.runs`)
	event := r.value(`SELECT max(event_id)::text FROM lumin.runs WHERE state = 'failed'`)
	for _, path := range []string{
		"/", "/?range=hour", "/?range=month", "/failures", "/failures?state=retrying", "/failures?state=dismissed", "/failures?kind=send",
		"/plan?do=replay&status=failed", "/plan?do=dismiss&status=failed&kind=send", "/plan?do=replay&status=late&source=account", "/plan?do=replay&status=failed&event=" + event,
		"/lanes", "/lanes?held=1", "/lanes?kind=book", "/queues", "/job-types", "/replays", "/replays/1", "/replays?before=5", "/events?state=late",
		"/events?id=" + request[:4] + "&state=failed", "/events?state=failed&kind=book&error=" + fingerprint, conflict,
		"/events", "/events?state=failed", "/events?state=failed&kind=send", "/events?state=failed&kind=none", "/events?state=failed&source=none", "/events?state=pending", "/events?state=retrying",
		"/events?state=succeeded&kind=book", "/events?state=succeeded&kind=none", "/events?state=cancelled", "/events?state=dismissed", "/events?state=parked", "/events?kind=none", "/events?kind=book&source=app:crm",
		"/events?type=signature_request_signed", "/events?source=account&state=succeeded", "/events?id=" + request[:8], "/events?state=unrecognized", "/events?since=2025-10-09T09:00&state=failed",
		"/events/" + event, "/requests/" + request, "/conflicts", "/unrecognized", "/sources", "/programs", "/audit", "/find?q=" + request,
	} {
		took := make([]time.Duration, 100)
		for i := range took {
			began := time.Now()
			response := httptest.NewRecorder()
			r.echo.ServeHTTP(response, httptest.NewRequest(http.MethodGet, path, nil))
			if took[i] = time.Since(began); response.Code >= 400 {
				t.Fatalf("%s: %d", path, response.Code)
			}
		}
		slices.Sort(took)
		t.Logf("%7.1f ms p50 %7.1f ms p99  %s", took[50].Seconds()*1000, took[98].Seconds()*1000, path)
		if took[98] > 50*time.Millisecond {
			t.Errorf("%s takes %s", path, took[98])
		}
	}
}
