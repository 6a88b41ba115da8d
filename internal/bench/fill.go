package main

import (
	"context"
	"fmt"
	"time"
)

// The past events are of one month, which ended a day ago. Ten million make 3.9 a
// second.
const (
	pastMonth = 30 * 24 * time.Hour
	pastEnd   = 24 * time.Hour
)

// Sources of past events. The rare ones have one in 1,000 and in 100,000 signature
// requests.
const (
	commonSource  = "account"
	tenthSource   = "app:sales"
	rareSource    = "app:crm"
	rarestSource  = "app:pilot"
	unknownSource = "app:none"
)

// pastEventsSQL stores the events $1 to $2. A signature request has three to ten
// events: 52 of 8 requests, which are mixed with those of 999 other eights, as
// requests take hours. Its parameters are the first and the last event, the time
// of event 0 and the seconds between two events.
//
// Each event has a failed run of the job type book, as if it had never worked. One
// event in five has a run of notify, in any state. Keys begin with the time, like
// real ones.
const pastEventsSQL = `
WITH place AS (
    SELECT n, $3::timestamptz + n * $4::float8 * interval '1 second' AS at, n / 52000 * 1000 + n % 1000 AS cycle, (n / 1000 % 52)::int AS place
    FROM generate_series($1::bigint, $2::bigint) n
), event AS (
    SELECT p.n, p.at, p.cycle * 8 + g.eighth AS request, p.place - (ARRAY[0, 3, 7, 12, 18, 25, 33, 42])[g.eighth + 1] AS position, g.eighth + 2 AS last
    FROM place p CROSS JOIN LATERAL (SELECT width_bucket(p.place, ARRAY[3, 7, 12, 18, 25, 33, 42]) AS eighth) g
), typed AS (
    SELECT v.*, n % 2000 = 1999 AS unrecognized, n % 100 = 51 AS erased,
           CASE WHEN request % 100000 = 9 THEN 'app:pilot' WHEN request % 1000 = 7 THEN 'app:crm' WHEN request % 10 = 5 THEN 'app:sales' ELSE 'account' END AS source,
           'signature_request_' || CASE
               WHEN position = 0 THEN 'created'
               WHEN position = last THEN CASE
                   WHEN request % 10000 = 2 THEN 'invalid' WHEN request % 5000 = 7 THEN 'cancel_failed' WHEN request % 50 = 1 THEN 'canceled'
                   WHEN request % 20 = 0 THEN 'declined' ELSE 'downloadable' END
               WHEN position = 1 AND request % 100 = 7 THEN 'due_date_updated'
               WHEN position = last - 1 AND request % 20 > 1 THEN 'approved'
               WHEN position % 2 = 1 THEN 'viewed' ELSE 'signed' END AS type
    FROM event v
), e AS (
    INSERT INTO lumin.events (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at, payload_removed_at)
    SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || substr(md5(n::text), 13))::uuid, source,
           CASE WHEN NOT unrecognized THEN md5(request::text) END, CASE WHEN NOT unrecognized THEN type END, CASE WHEN NOT unrecognized THEN at END,
           CASE WHEN NOT erased THEN convert_to('{"n":' || n || ',"signer_email":"person' || request || '@example.com","x":"' || repeat(md5(n::text), 13) || '"}', 'UTF8') END,
           sha256(n::text::bytea), sha256(n::text::bytea), CASE WHEN n % 2000000 < 1000000 THEN '0011223344556677' ELSE '8899aabbccddeeff' END,
           at + interval '1 second', CASE WHEN erased THEN at + interval '1 day' END
    FROM typed ORDER BY n
    RETURNING id, event_key, source, signature_request_id, payload, received_at
), book AS (
    INSERT INTO lumin.runs (event_key, job_kind, event_id, job_id, state, attempts, error, finished_at)
    SELECT event_key, 'book', id, -id, CASE WHEN payload IS NULL THEN 'cancelled' ELSE 'failed' END, 10,
           CASE WHEN payload IS NOT NULL THEN 'invoice ' || id || ' is gone' END, received_at
    FROM e WHERE signature_request_id IS NOT NULL
), notify AS (
    INSERT INTO lumin.runs (event_key, job_kind, event_id, job_id, state, attempts, error, finished_at)
    SELECT event_key, 'notify', id, -id, (ARRAY['failed', 'dismissed', 'cancelled'])[id % 50 / 5 + 1], 3,
           CASE WHEN id % 50 < 10 THEN 'region ' || translate((id / 50 % 300)::text, '0123456789', 'ghijklmnop') || ' refused' END, received_at + interval '1 minute'
    FROM e WHERE id % 50 IN (0, 5, 10) AND payload IS NOT NULL AND signature_request_id IS NOT NULL
    UNION ALL
    SELECT event_key, 'notify', id, -id, 'succeeded', 1, NULL, received_at + interval '1 second'
    FROM e WHERE id % 5 = 0 AND id % 50 > 10 AND payload IS NOT NULL AND signature_request_id IS NOT NULL
    RETURNING event_key, job_kind, job_id, state, attempts, error, finished_at
), dismissed AS (
    INSERT INTO lumin.dismissals (event_key, job_kind, reason, dismissed_by, dismissed_at)
    SELECT event_key, job_kind, 'region closed', 'support', finished_at + interval '1 hour' FROM notify WHERE state = 'dismissed'
), failure AS (
    INSERT INTO lumin.failures (event_key, job_kind, replay_id, job_id, state, attempts, errors, failed_at)
    SELECT event_key, job_kind, 0, job_id, 'failed', attempts, ARRAY[jsonb_build_object('error', error)], finished_at FROM notify WHERE state IN ('failed', 'dismissed')
)
INSERT INTO lumin.redeliveries (event_id, payload_sha256, differs, payload, count, first_at, last_at, source, another_actor, decision, decided_at, decided_by, decision_reason)
SELECT id, sha256(id::text::bytea), CASE WHEN id % 300 = 2 THEN 'content' WHEN id % 2 = 0 THEN 'details_url' ELSE 'nothing' END, CASE WHEN id % 300 = 2 THEN payload END,
       1 + id % 3, received_at + interval '1 minute', received_at + (1 + id % 7) * interval '1 hour', CASE WHEN id % 300 = 2 THEN source END, id % 900 = 2,
       d.decision, d.at, d.by, d.reason
FROM e
LEFT JOIN LATERAL (SELECT 'dismissed' AS decision, received_at AS at, 'support' AS by, 'edited title' AS reason WHERE id % 600 = 2) d ON true
WHERE id % 100 = 2 OR id % 100 = 1`

// pastRequestsSQL stores the state of the signature requests of past events.
const pastRequestsSQL = `
INSERT INTO lumin.signature_requests (signature_request_id, status, title, created_at, last_event_type, last_event_time)
SELECT e.signature_request_id,
       CASE e.event_type WHEN 'signature_request_downloadable' THEN 'APPROVED' WHEN 'signature_request_declined' THEN 'REJECTED'
            WHEN 'signature_request_canceled' THEN 'CANCELLED' WHEN 'signature_request_invalid' THEN 'FAILED' ELSE 'NEED_TO_SIGN' END,
       'Contract', e.event_time, e.event_type, e.event_time
FROM (SELECT DISTINCT ON (signature_request_id) signature_request_id, event_type, event_time
      FROM lumin.events WHERE signature_request_id IS NOT NULL ORDER BY signature_request_id, event_time DESC) e`

// pastStart is the time of the first past event.
func pastStart() time.Time { return time.Now().Add(-pastMonth - pastEnd).Truncate(time.Hour) }

// fill stores n past events, with their runs and what else belongs to them.
func (s *stage) fill(ctx context.Context, n int) error {
	const page = 50_000
	s.logf("filling a database with %d events", n)
	start, seconds := pastStart(), pastMonth.Seconds()/float64(n)
	for from := 1; from <= n; from += page {
		if _, err := s.pool.Exec(ctx, pastEventsSQL, from, min(from+page-1, n), start, seconds); err != nil {
			return fmt.Errorf("fill: %w", err)
		}
	}
	for _, sql := range []string{pastRequestsSQL, `VACUUM ANALYZE`} {
		if _, err := s.pool.Exec(ctx, sql); err != nil {
			return fmt.Errorf("fill: %w", err)
		}
	}
	return s.checkpoint(ctx)
}
