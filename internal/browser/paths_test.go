package browser_test

import (
	"fmt"
	"maps"
	"net/url"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/sample"
	"lumin-ingest/internal/wait"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// lockedRequest is the signature request of the held lane. Its id needs escapes in a
// path.
const lockedRequest = "contract/2026?no=1#draft"

// waiting adds what waits for a person: a held lane, a run that is retried, a dismissed
// run, late events and a recovered event.
func (d *dashboard) waiting() {
	d.Helper()
	d.attempted()
	start := time.Now().Add(-time.Minute)
	for n := range 3 {
		at := start.Add(time.Duration(n) * time.Second)
		d.deliver(sample.Delivery{EventType: lumin.SignatureRequestDeclined, SignatureRequestID: lockedRequest, At: at}.Body(), 1)
	}
	wait.Until(d, "a lane is held", func() bool {
		return pgtest.Value[bool](d, d.pool, `SELECT count(*) = 3 AND count(*) FILTER (WHERE state = 'failed') = 1 AND count(*) FILTER (WHERE state = 'parked') = 2 FROM lumin.runs WHERE job_kind = 'keep_ledger'`)
	})
	pgtest.Exec(d, d.pool, `SELECT lumin.dismiss_failure(event_key, job_kind, 'test data of a customer') FROM lumin.runs WHERE state = 'failed' AND job_kind = 'book_invoice' ORDER BY event_id LIMIT 1`)
	for range 2 {
		d.deliver(sample.Delivery{EventType: lumin.SignatureRequestApproved, At: time.Now().AddDate(0, 0, -60)}.Body(), 1)
	}
	st, err := store.New(d.pool, nil)
	if err == nil {
		err = pgx.BeginFunc(d.Context(), d.pool, func(tx pgx.Tx) error {
			at := time.Now().Add(-time.Hour).UnixMilli()
			_, err := st.RecoverTx(d.Context(), tx, store.Recovery{
				Payload: fmt.Appendf(nil, `{"event":{"event_time":%d,"event_type":"signature_request_approved"},"signature_request":{"signature_request_id":"lost","title":"Lost in an outage"},
					"recovered":{"at":%d,"by":"ann","api":"https://api.luminpdf.com/v1"}}`, at, at),
				RecoveredAt: time.UnixMilli(at),
			})
			return err
		})
	}
	if err != nil {
		d.Fatal(err)
	}
}

// slowReplay orders a replay that takes many seconds, and returns the path of the page
// that cancels it.
func (d *dashboard) slowReplay() string {
	d.Helper()
	return pgtest.Value[string](d, d.pool, `SELECT format('/replays/%s/cancel', lumin.replay(job_kinds => '{note_event}', status => 'succeeded', rate => 1, reason => 'a slow one'))`)
}

// paths are all pages, by name.
func (d *dashboard) paths(request string) map[string]string {
	paths := map[string]string{
		"overview": "/", "failures": "/failures", "failures-retrying": "/failures?state=retrying", "failures-dismissed": "/failures?state=dismissed",
		"replays": "/replays", "replay": d.path(`SELECT '/replays/' || max(id) FROM lumin.replays`),
		"lanes": "/lanes", "lanes-held": "/lanes?held=1", "job-types": "/job-types", "queues": "/queues",
		"events": "/events", "events-filtered": "/events?state=failed&kind=book_invoice", "events-none": "/events?id=none", "events-late": "/events?state=late",
		"event":           d.path(`SELECT '/events/' || min(event_id) FROM lumin.runs WHERE state = 'failed' AND job_kind = 'book_invoice'`),
		"event-retrying":  d.path(`SELECT '/events/' || max(event_id) FROM lumin.runs WHERE job_kind = 'call_crm'`),
		"event-parked":    d.path(`SELECT '/events/' || max(event_id) FROM lumin.runs WHERE state = 'parked'`),
		"event-dismissed": d.path(`SELECT '/events/' || max(event_id) FROM lumin.runs WHERE state = 'dismissed'`),
		"event-late":      d.path(`SELECT '/events/' || max(id) FROM lumin.events WHERE late`),
		"event-recovered": d.path(`SELECT '/events/' || max(id) FROM lumin.events WHERE source = 'recovered'`),
		"conflicted":      d.path(`SELECT '/events/' || min(event_id) FROM lumin.conflicts`),
		"job":             d.path(`SELECT '/jobs/' || min(id) FROM lumin.river_job WHERE NOT args ? 'event_key'`),
		"request":         "/requests/" + request, "request-declined": "/requests/" + url.PathEscape(lockedRequest), "conflicts": "/conflicts",
		"conflict":     d.path(`SELECT format('/events/%s/conflicts/%s', event_id, encode(payload_sha256, 'hex')) FROM lumin.conflicts ORDER BY length(other_payload) LIMIT 1`),
		"unrecognized": "/unrecognized", "sources": "/sources", "programs": "/programs", "audit": "/audit", "missing": "/nowhere",
	}
	maps.Copy(paths, d.plans(paths["event"]))
	return paths
}

// path is the path that a statement returns.
func (d *dashboard) path(sql string) string {
	d.Helper()
	return pgtest.Value[string](d, d.pool, sql)
}

// plans are the pages between a button and its action.
func (d *dashboard) plans(event string) map[string]string {
	plan := func(do, status, kind, back string) string {
		return "/plan?" + url.Values{"do": {do}, "status": {status}, "kind": {kind}, "back": {back}}.Encode()
	}
	return map[string]string{
		"plan": plan("replay", "failed", "book_invoice", event), "plan-dismiss": plan("dismiss", "failed", "book_invoice", "/failures"),
		"plan-cancel": plan("cancel", "retrying", "call_crm", "/failures"), "plan-late": plan("replay", "late", "", "/events"),
		"plan-restore": "/plan?" + url.Values{"do": {"restore"}, "kind": {"book_invoice"}, "back": {"/failures"}}.Encode(),
		"plan-retry":   d.path(`SELECT '/follow-ups/retry?job=' || max(job_id) FROM lumin.failed_follow_ups`),
		"plan-skip":    "/lanes/skip?" + url.Values{"kind": {"keep_ledger"}, "request": {lockedRequest}}.Encode(),
		"plan-pause":   "/queues/default",
	}
}
