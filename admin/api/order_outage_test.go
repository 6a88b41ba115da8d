package api_test

import (
	"net/http"
	"strings"
	"testing"

	"lumin-ingest/internal/pgproxy"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/migrations"
)

// behindProxy is a rig whose API reaches the database through a proxy. With the simple
// protocol, a statement is committed before its reply is dropped.
func behindProxy(t *testing.T) (*rig, *pgproxy.Proxy) {
	t.Helper()
	database := pgtest.New(t)
	pgtest.UseRoles(t, database)
	proxy := pgtest.Proxy(t, pgtest.Login(t, database, migrations.Admin))
	return &rig{TB: t, store: open(t, database), url: serve(t, open(t, proxy.URL()+"&default_query_exec_mode=simple_protocol"))}, proxy
}

// The connection breaks at some statement of an order. An order that was carried out is
// answered so, or the answer says that it is not known. With the same key it counts once.
func TestConnectionBreaksDuringOrder(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		at     string
		fault  pgproxy.Fault
		status int
		want   string
	}{
		"the outcome of the audit log": {"UPDATE lumin.audit_log", pgproxy.DropRequest, http.StatusOK, `{"id":1}`},
		"the answer for the key":       {"UPDATE lumin.api_orders SET answer", pgproxy.DropRequest, http.StatusOK, `{"id":1}`},
		"the order was stored":         {"INSERT INTO lumin.replays", pgproxy.DropReply, http.StatusServiceUnavailable, `"code":"outcome_unknown"`},
		"the order was not stored":     {"INSERT INTO lumin.replays", pgproxy.DropRequest, http.StatusServiceUnavailable, `"code":"outcome_unknown"`},
		"before the order":             {"INSERT INTO lumin.audit_log", pgproxy.DropRequest, http.StatusServiceUnavailable, `"code":"database_unavailable"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, proxy := behindProxy(t)
			proxy.At(pgproxy.Strike{At: func(m pgproxy.Moment) bool { return strings.Contains(m.SQL, test.at) }, Fault: test.fault, Times: 1})
			a := r.call("operate", http.MethodPost, "/replays", replayFailed, "Idempotency-Key", "one")
			if a.status != test.status || !strings.Contains(a.body, test.want) || proxy.Struck() != 1 {
				t.Errorf("%d %s, struck %d", a.status, a.body, proxy.Struck())
			}
			if strings.Contains(a.body, "outcome_unknown") && !strings.Contains(a.body, `"detail":"It is not known whether the order was carried out: the database has not answered in time."`) {
				t.Errorf("it shows the error: %s", a.body)
			}
			pgtest.Exec(t, r.store.Pool(), `UPDATE lumin.api_orders SET claimed_until = now()`) // a claim ends after a minute
			again := r.call("operate", http.MethodPost, "/replays", replayFailed, "Idempotency-Key", "one")
			if again.status != http.StatusOK || test.status == http.StatusOK && again.body != a.body {
				t.Errorf("again: %d %s", again.status, again.body)
			}
			if n := pgtest.Value[int64](t, r.store.Pool(), `SELECT count(*) FROM lumin.replays`); n != 1 {
				t.Errorf("%d replays", n)
			}
		})
	}
}

// A change that ends early says what it has changed. A repetition gets the same answer,
// and another order changes the rest.
func TestChangeInPart(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	pgtest.Exec(t, r.store.Pool(), `INSERT INTO lumin.job_types (kind, events, sources, transactional, queue) VALUES ('greet', '{}', '{}', true, 'default')`)
	pgtest.Exec(t, r.store.Pool(), `
		INSERT INTO lumin.events (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at)
		SELECT gen_random_uuid(), 'account', 'r' || n, 'signature_request_signed', now(), '{}', '', '', 'k', now() FROM generate_series(1, 5001) n`)
	pgtest.Exec(t, r.store.Pool(), `
		INSERT INTO lumin.runs (event_key, job_kind, event_id, state, finished_at) SELECT event_key, 'greet', id, 'failed', now() FROM lumin.events`)
	pgtest.Exec(t, r.store.Pool(), `CREATE FUNCTION lumin.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF new.event_key = (SELECT event_key FROM lumin.events ORDER BY event_key DESC LIMIT 1) THEN RAISE 'the last one'; END IF;
		RETURN new; END $$`)
	pgtest.Exec(t, r.store.Pool(), `CREATE TRIGGER refuse BEFORE UPDATE ON lumin.runs FOR EACH ROW EXECUTE FUNCTION lumin.refuse()`)
	order := func(path, key, want string) {
		t.Helper()
		a := r.call("operate", http.MethodPost, path, `{"filter":{"job_kinds":["greet"]},"reason":"test"}`, "Idempotency-Key", key)
		if !strings.Contains(a.body, want) {
			t.Errorf("%s with the key %s: %d %s, want %s", path, key, a.status, a.body, want)
		}
	}
	order("/dismissals", "one", `{"changed":5000,"more":true}`)
	order("/dismissals", "two", `"code":"internal_error"`) // nothing was changed
	pgtest.Exec(t, r.store.Pool(), `ALTER TABLE lumin.runs DISABLE TRIGGER refuse`)
	order("/dismissals", "one", `{"changed":5000,"more":true}`)
	order("/dismissals", "two", `{"changed":1,"more":false}`)
	pgtest.Exec(t, r.store.Pool(), `ALTER TABLE lumin.runs ENABLE TRIGGER refuse`)
	order("/restorations", "three", `{"changed":5000,"more":true}`)
	pgtest.Exec(t, r.store.Pool(), `ALTER TABLE lumin.runs DISABLE TRIGGER refuse`)
	order("/restorations", "four", `{"changed":1,"more":false}`)
}

// A promotion that was carried out is answered with its event, even without an outcome
// in the audit log, and with the same event when it is repeated.
func TestPromotionWithoutOutcome(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	other := delivery(1, "greet")
	other.Payload = []byte(strings.ReplaceAll(string(other.Payload), "Canary Title", "another title"))
	r.record(delivery(1, "greet"), other)
	order := `{"event_id":1,"body":"` + bodyOfConflict(r) + `","decision":"promote","reason":"two"}`
	pgtest.Exec(t, r.store.Pool(), `ALTER TABLE lumin.audit_log ADD CHECK (outcome IS NULL)`)
	for range 2 {
		if a := r.call("operate", http.MethodPost, "/conflicts/decide", order, "Idempotency-Key", "one"); a.status != http.StatusOK || !strings.Contains(a.body, `{"promoted_id":2}`) {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
}
