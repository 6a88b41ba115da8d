package store_test

import (
	"fmt"
	"testing"
	"time"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/store/catalog"
)

// late is a delivery of an event that was too old, so it has no jobs.
func late(d store.Delivery) store.Delivery {
	d.Late, d.Jobs = true, nil
	return d
}

// Deliveries of one event come in turn. Only a delivery that is not late and that
// is the first of its source gives the event its runs.
func TestLateDeliveries(t *testing.T) {
	t.Parallel()
	var (
		timely = delivery(1, "book")
		app    = from("app:crm", timely)
		token  = variant(1, "https://example.com/?token=2", "title", "book")
		other  = variant(1, "https://example.com/?token=1", "another title", "book")
	)
	for name, test := range map[string]struct {
		deliveries []store.Delivery
		want       []store.Status
		late, runs int
		repeated   string
	}{
		"alone":                            {[]store.Delivery{late(timely)}, []store.Status{store.Late}, 1, 0, "[]"},
		"twice":                            {[]store.Delivery{late(timely), later(5, late(timely))}, []store.Status{store.Late, store.Duplicate}, 1, 0, "[nothing x1 5-5]"},
		"twice, under a new token":         {[]store.Delivery{late(timely), later(5, late(token))}, []store.Status{store.Late, store.Duplicate}, 1, 0, "[details_url kept x1 5-5]"},
		"twice, with another content":      {[]store.Delivery{late(timely), later(5, late(other))}, []store.Status{store.Late, store.Duplicate}, 1, 0, "[content kept x1 5-5]"},
		"after a timely one":               {[]store.Delivery{timely, later(5, late(timely))}, []store.Status{store.Recorded, store.Duplicate}, 0, 1, "[nothing x1 5-5]"},
		"before a timely one":              {[]store.Delivery{late(timely), later(5, timely)}, []store.Status{store.Late, store.Duplicate}, 1, 0, "[nothing x1 5-5]"},
		"after a timely one elsewhere":     {[]store.Delivery{app, late(timely)}, []store.Status{store.Recorded, store.Late}, 1, 1, "[]"},
		"before a timely one elsewhere":    {[]store.Delivery{late(timely), app}, []store.Status{store.Late, store.Recorded}, 1, 1, "[]"},
		"from two sources":                 {[]store.Delivery{late(timely), late(app)}, []store.Status{store.Late, store.Late}, 2, 0, "[]"},
		"an event without jobs, not late":  {[]store.Delivery{delivery(1)}, []store.Status{store.Recorded}, 0, 0, "[]"},
		"an unrecognized one is not late ": {[]store.Delivery{{Source: "account", Payload: []byte("?"), Signature: make([]byte, 32), KeyID: "k", ReceivedAt: time.Now()}}, []store.Status{store.Unrecognized}, 0, 0, "[]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			r := newRecorder(t, s)
			for i, d := range test.deliveries {
				if got := mustRecord(t, r, d); got.Status != test.want[i] {
					t.Errorf("delivery %d: %s, want %s", i, got.Status, test.want[i])
				}
			}
			if n := value[int](t, s.Pool(), `SELECT count(*) FROM lumin.events WHERE late`); n != test.late {
				t.Errorf("%d late events, want %d", n, test.late)
			}
			if n := value[int](t, s.Pool(), `SELECT count(*) FROM lumin.runs`); n != test.runs {
				t.Errorf("%d runs, want %d", n, test.runs)
			}
			if got := fmt.Sprint(repeated(t, s)); got != test.repeated {
				t.Errorf("redeliveries %s, want %s", got, test.repeated)
			}
		})
	}
}

// The same holds within one transaction: a batch with late and timely events.
func TestLateBatch(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	r := newRecorder(t, s)
	release := blockFlushers(t, s, r)
	const each = 5
	receipts := make(chan store.Receipt, 2*each)
	for n := range each {
		for _, d := range []store.Delivery{delivery(n, "book"), late(delivery(each+n, "book"))} {
			go func() {
				receipt, err := r.Record(t.Context(), d)
				if err != nil {
					t.Error(err)
				}
				receipts <- receipt
			}()
		}
	}
	eventually(t, "all wait", func() bool { return r.Waiting() == 2*each })
	release()
	statuses := map[store.Status]int{}
	for range 2 * each {
		statuses[(<-receipts).Status]++
	}
	if statuses[store.Recorded] != each || statuses[store.Late] != each {
		t.Errorf("%v", statuses)
	}
	if n := value[int](t, s.Pool(), `SELECT count(*) FROM lumin.events e LEFT JOIN lumin.runs r USING (event_key) WHERE e.late = (r.event_key IS NULL) AND e.signature_request_id LIKE 'request-_'`); n < 2*each {
		t.Errorf("%d of %d events are either late or have a run", n, 2*each)
	}
}

// What waits for a decision: late events without any run, to which a job type
// subscribes.
func TestCountWaitingLate(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	r := newRecorder(t, s)
	waiting := func(want int64) {
		t.Helper()
		if got, err := store.CountWaitingLate(t.Context(), s.Pool()); err != nil || got != (store.WaitingLate{Events: want}) {
			t.Errorf("%+v, %v, want %d", got, err, want)
		}
	}
	waiting(0)
	mustRecord(t, r, delivery(0, "book"))
	mustRecord(t, r, late(delivery(1)))
	mustRecord(t, r, late(from("app:crm", delivery(1))))
	mustRecord(t, r, late(delivery(2)))
	mustRecord(t, r, late(delivery(3)))
	mustRecord(t, r, late(from("app:crm", delivery(4))))
	waiting(0)
	if _, err := catalog.AddJobTypes(t.Context(), s.Pool(), []catalog.JobType{{Kind: "book", Sources: []string{"account"}, Queue: "default"}}); err != nil {
		t.Fatal(err)
	}
	waiting(3) // once for both copies of event 1
	exec(t, s.Pool(), `INSERT INTO lumin.runs (event_key, job_kind, event_id, state, finished_at, job_id)
		SELECT event_key, 'other', id, 'succeeded', now(), 0 FROM lumin.events WHERE signature_request_id = 'request-1' AND source = 'account'`)
	waiting(2)
	exec(t, s.Pool(), `UPDATE lumin.events SET payload = NULL, payload_removed_at = now() WHERE signature_request_id = 'request-2'`)
	waiting(1)
	exec(t, s.Pool(), `UPDATE lumin.job_types SET events = '{signature_request_approved}'`)
	waiting(0)
}

// A late original of a recovered event is a redelivery of that event. A late event
// that is stored already is not recovered: a person decides about it.
func TestLateAndRecovered(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	r := newRecorder(t, s)
	registerAll(t, s)
	recovered := mustRecover(t, s, recovery(1, lumin.SignatureRequestApproved))
	if got, want := mustRecord(t, r, late(original(1, lumin.SignatureRequestApproved))), (store.Receipt{EventID: recovered.EventID, Status: store.Duplicate, Recovered: true}); got != want {
		t.Errorf("original: %+v, want %+v", got, want)
	}
	stored := mustRecord(t, r, late(original(2, lumin.SignatureRequestApproved)))
	if got, want := mustRecover(t, s, recovery(2, lumin.SignatureRequestApproved)), (store.Receipt{EventID: stored.EventID, Status: store.Duplicate}); stored.Status != store.Late || got != want {
		t.Errorf("recovered: %+v, want %+v", got, want)
	}
	if got := value[string](t, s.Pool(), `SELECT string_agg(signature_request_id || ' ' || source || ' ' || late, ', ' ORDER BY id) FROM lumin.events`); got != "request-1 recovered false, request-2 account true" {
		t.Error(got)
	}
	if n := value[int](t, s.Pool(), `SELECT count(*) FROM lumin.runs r JOIN lumin.events e ON e.id = r.event_id WHERE e.late`); n != 0 {
		t.Errorf("%d runs of late events", n)
	}
}
