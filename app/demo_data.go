package app

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"lumin-ingest/internal/sample"
	"lumin-ingest/internal/service"
	"lumin-ingest/store/failures"
	"lumin-ingest/store/operate"
	"lumin-ingest/store/replay"
	"lumin-ingest/worker"
)

// demoRequests is how many signature requests the sample data has. The first digit
// of their ids decides what goes wrong; see demoTrouble.
const demoRequests = 24

// addSampleJobs registers the job types of the sample data.
func addSampleJobs(registry *worker.Registry) {
	registry.AddTx(demoCRM{})
	registry.AddTx(demoMail{})
	registry.AddOrdered(demoLedger{})
}

// fill delivers sample data, so that each page of the dashboard has something to
// show: runs that succeed, are retried and have failed, a held lane, a conflict, an
// unrecognized event, and a dismissal.
func (d *demo) fill(ctx context.Context, s *service.Service) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	to := &sender{endpoint: "http://" + s.PublicAddr() + "/webhooks/apps/sample", key: sample.AppSecret, client: http.DefaultClient}
	start := time.Now().Add(-time.Hour)
	var last []byte
	for i := range demoRequests {
		request := fmt.Sprintf("%x%s", i%16, sample.RandomHex(20)[1:])
		for n, t := range signingScenario() {
			at := start.Add(time.Duration(i)*time.Minute + time.Duration(n)*10*time.Second)
			last = sample.Delivery{EventType: t, SignatureRequestID: request, At: at}.Body()
			if _, err := to.send(ctx, last); err != nil {
				return fmt.Errorf("send sample data: %w", err)
			}
		}
	}
	for _, body := range [][]byte{
		bytes.Replace(last, []byte("Sample agreement"), []byte("Another agreement"), 1),                             // a conflict
		[]byte(`{"event":{"event_type":"signature_request_signed"},"signature_request":{"title":"Without an id"}}`), // unrecognized
	} {
		if _, err := to.send(ctx, body); err != nil {
			return fmt.Errorf("send sample data: %w", err)
		}
	}
	if err := d.dismissOne(ctx, s); err != nil {
		return err
	}
	return inventHistory(ctx, s)
}

// dismissOne waits for a failure of the sample data, and dismisses it.
func (d *demo) dismissOne(ctx context.Context, s *service.Service) error {
	var group failures.Group
	err := waitFor(ctx, func() (bool, error) {
		found, err := failures.Failed().Quickly(ctx, s.Store().Pool(), []string{demoMail{}.Kind()}, nil, 10)
		for _, g := range found.Groups {
			if strings.HasPrefix(g.Error, "template") {
				group = g
				return true, err
			}
		}
		return false, err
	})
	if err != nil {
		return err
	}
	by := operate.Actor{Name: "demo", Via: operate.Command}
	_, err = operate.New(s.Store()).Dismiss(ctx, by, replay.Filter{Status: replay.Failed, EventIDs: []int64{group.EventID}, Kinds: []string{group.Kind}}, "test data of the demo")
	return err
}

// inventHistorySQL makes up a month of history, from a wave with a day and a week
// as its periods. The histograms have 19 buckets; see package history.
const inventHistorySQL = `
WITH h AS (
    SELECT t AS hour, greatest(2, round((40 + 30 * sin(2 * pi() * (extract(hour FROM t) - 9) / 24))
           * CASE WHEN extract(isodow FROM t) > 5 THEN 0.3 ELSE 1 END
           * (1 + (hashint8(extract(epoch FROM t)::bigint) % 20) / 100.0)))::int AS n, abs(hashint8(extract(epoch FROM t)::bigint)) AS noise
    FROM generate_series(date_trunc('hour', now()) - interval '30 days', date_trunc('hour', now()) - interval '1 hour', interval '1 hour') t
), deliveries AS (
    INSERT INTO lumin.delivery_hours (hour, source, result, reason, deliveries, seconds, times)
    SELECT h.hour, $1, r.result, r.reason, r.n, r.n * 0.008, CASE WHEN r.measured THEN ARRAY[0, r.n / 8, r.n / 3, r.n / 3, r.n / 8, r.n / 40, 1, 0,0,0,0,0,0,0,0,0,0,0,0] ELSE '{}' END
    FROM h CROSS JOIN LATERAL (VALUES ('recorded', '', h.n, true), ('duplicate', '', h.n / 12, true),
        ('refused', 'signature_mismatch', CASE WHEN h.noise % 17 = 0 THEN 3 ELSE 0 END, false)) r (result, reason, n, measured)
    WHERE r.n > 0
    ON CONFLICT DO NOTHING
)
INSERT INTO lumin.attempt_hours (hour, kind, outcome, attempts, work_seconds, work_times, effect_seconds, effect_times)
SELECT h.hour, k.kind, r.outcome, r.n, r.n * 0.02, ARRAY[0, 0, r.n / 8, r.n / 4, r.n / 3, r.n / 8, 1, 0,0,0,0,0,0,0,0,0,0,0,0],
       CASE WHEN r.outcome = 'succeeded' THEN r.n * 0.05 ELSE 0 END,
       CASE WHEN r.outcome = 'succeeded' THEN ARRAY[0, 0, 0, r.n / 8, r.n / 4, r.n / 3, r.n / 8, r.n / 30, 1, 0,0,0,0,0,0,0,0,0,0] ELSE '{}' END
FROM h CROSS JOIN unnest($2::text[]) WITH ORDINALITY k (kind, i)
CROSS JOIN LATERAL (VALUES ('succeeded', h.n / k.i::int), ('retried', CASE WHEN (h.noise + k.i * 7) % 11 = 0 THEN h.n / 9 ELSE 0 END),
    ('failed', CASE WHEN (h.noise + k.i * 5) % 37 = 0 THEN 2 ELSE 0 END)) r (outcome, n)
WHERE r.n > 0
ON CONFLICT DO NOTHING`

// inventHistory makes up the history of the last month. A new database has none,
// and the pictures of the dashboard would be empty.
func inventHistory(ctx context.Context, s *service.Service) error {
	kinds := []string{demoCRM{}.Kind(), demoMail{}.Kind(), demoLedger{}.Kind(), demoInvoice{}.Kind()}
	if _, err := s.Store().Pool().Exec(ctx, inventHistorySQL, demoSource, kinds); err != nil {
		return fmt.Errorf("make up a history: %w", err)
	}
	return nil
}
