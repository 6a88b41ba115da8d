package store_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/store/catalog"
	"lumin-ingest/store/internal/storetest"
)

// original is the delivery of an event that can be recovered.
func original(n int, eventType lumin.EventType, jobs ...string) store.Delivery {
	d := delivery(n, jobs...)
	d.Envelope.EventType = eventType
	d.Payload = []byte(strings.Replace(string(d.Payload), string(lumin.SignatureRequestSigned), string(eventType), 1))
	return d
}

// recovery is an event of the same signature request and type as original. Its time
// differs, because Lumin's API does not say when the event happened.
func recovery(n int, eventType lumin.EventType) store.Recovery {
	return store.Recovery{
		Payload: fmt.Appendf(nil, `{"event":{"event_time":%d,"event_type":%q},"signature_request":{"signature_request_id":"request-%d"},"recovered":{}}`,
			1694664209999+n, eventType, n),
		RecoveredAt: time.UnixMilli(1694900000000),
	}
}

// recoverIn recovers in a transaction of its own, again while recordings are under
// way.
func recoverIn(tb testing.TB, s *store.Store, r store.Recovery) (receipt store.Receipt, err error) {
	tb.Helper()
	for deadline := time.Now().Add(timeout); ; {
		err = pgx.BeginFunc(tb.Context(), s.Pool(), func(tx pgx.Tx) error {
			receipt, err = s.RecoverTx(tb.Context(), tx, r)
			return err
		})
		if !errors.Is(err, store.ErrRecoveryBusy) || time.Now().After(deadline) {
			return receipt, err
		}
	}
}

func mustRecover(tb testing.TB, s *store.Store, r store.Recovery) store.Receipt {
	tb.Helper()
	receipt, err := recoverIn(tb, s, r)
	if err != nil {
		tb.Fatal(err)
	}
	return receipt
}

// registerAll registers job types with different subscriptions.
func registerAll(tb testing.TB, s *store.Store) {
	tb.Helper()
	types := []catalog.JobType{
		{Kind: "any", Queue: "default", MaxAttempts: 4, Priority: 2},
		{Kind: "app_only", Queue: "slow", Events: []string{string(lumin.SignatureRequestApproved)}, Sources: []string{"app:crm"}},
		{Kind: "other_event", Queue: "default", Events: []string{string(lumin.SignatureRequestDeclined)}},
		{Kind: "refuses", Queue: "default", RefusesRecovered: true},
	}
	if _, err := catalog.AddJobTypes(tb.Context(), s.Pool(), types); err != nil {
		tb.Fatal(err)
	}
}

// A recovered event gets the runs of all job types that subscribe to its type and do
// not refuse it. Its originals are redeliveries of it, whatever their source, and
// recovering once more changes nothing.
func TestRecover(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	registerAll(t, s)
	first := mustRecover(t, s, recovery(1, lumin.SignatureRequestApproved))
	if first.Status != store.Recorded || first.EventID == 0 {
		t.Fatalf("recovered: %+v", first)
	}
	const eventSQL = `SELECT concat_ws(' ', source, signature_request_id, event_type, key_id = '', signature = '', received_at = 'epoch'::timestamptz + interval '1694900000 s') FROM lumin.events`
	if got, want := value[string](t, s.Pool(), eventSQL), "recovered request-1 signature_request_approved t t t"; got != want {
		t.Errorf("event %q, want %q", got, want)
	}
	const jobsSQL = `SELECT string_agg(concat_ws(' ', r.job_kind, j.queue, j.max_attempts, j.priority), ', ' ORDER BY r.job_kind)
		FROM lumin.runs r JOIN lumin.river_job j ON j.id = r.job_id WHERE r.state = 'pending'`
	if got, want := value[string](t, s.Pool(), jobsSQL), "any default 4 2, app_only slow 10 1"; got != want {
		t.Errorf("jobs %q, want %q", got, want)
	}
	recovered := tally{Events: 1, Runs: 2, Jobs: 2}
	if again := mustRecover(t, s, recovery(1, lumin.SignatureRequestApproved)); again.Status != store.Duplicate || again.EventID != first.EventID {
		t.Errorf("again: %+v", again)
	}
	wantTally(t, s, recovered)

	account := original(1, lumin.SignatureRequestApproved, "any", "refuses")
	account.Signature, account.KeyID = []byte("signature"), "key"
	app := from("app:crm", account)
	for i, batch := range [][]store.Delivery{{account, later(1, app), later(2, account)}, {later(3, app)}, {later(4, account)}} {
		for _, r := range recordAll(t, s, batch...) {
			if r.Status != store.Duplicate || r.EventID != first.EventID || !r.Recovered || r.Conflict {
				t.Errorf("original in batch %d: %+v", i, r)
			}
		}
	}
	const originalsSQL = `SELECT string_agg(concat_ws(' ', differs, count, source, convert_from(signature, 'UTF8'), key_id, payload = $1, promoted_key IS NULL), ', ') FROM lumin.redeliveries`
	if got, want := value[string](t, s.Pool(), originalsSQL, account.Payload), "recovered 5 account signature key t t"; got != want {
		t.Errorf("redeliveries %q, want %q", got, want)
	}
	recovered.Redeliveries = 5
	wantTally(t, s, recovered)

	// Another type, and the same type of another request, are other events.
	recordAll(t, s, original(1, lumin.SignatureRequestDownloadable, "any"), original(2, lumin.SignatureRequestApproved, "any"))
	wantTally(t, s, tally{Events: 3, Runs: 4, Jobs: 4, Redeliveries: 5})
}

// Bodies of originals beyond the limit are counted, and not kept.
func TestManyOriginals(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	mustRecover(t, s, recovery(1, lumin.SignatureRequestInvalid))
	var all []store.Delivery
	for n := range store.MaxBodies + 3 {
		d := original(1, lumin.SignatureRequestInvalid)
		d.Payload = fmt.Append(d.Payload, strings.Repeat(" ", n))
		all = append(all, d)
	}
	recordAll(t, s, all...)
	recordAll(t, s, all...)
	const keptSQL = `SELECT concat_ws(' ', count(*) FILTER (WHERE payload IS NOT NULL), count(*), sum(count), min(differs), max(differs)) FROM lumin.redeliveries`
	if got, want := value[string](t, s.Pool(), keptSQL), fmt.Sprintf("%d %d %d recovered recovered", store.MaxBodies, store.MaxBodies+1, 2*len(all)); got != want {
		t.Errorf("redeliveries %q, want %q", got, want)
	}
}

// Nothing is recovered that a source has reported, even if its body was removed or
// it came too late.
func TestRecoverReported(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{
		"reported": `SELECT`, "body removed": `UPDATE lumin.events SET payload = NULL, payload_removed_at = now()`, "late": `UPDATE lumin.events SET late = true`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			registerAll(t, s)
			id := recordAll(t, s, from("app:crm", original(1, lumin.SignatureRequestCanceled)))[0].EventID
			exec(t, s.Pool(), change)
			if r := mustRecover(t, s, recovery(1, lumin.SignatureRequestCanceled)); r.Status != store.Duplicate || r.EventID != id {
				t.Errorf("receipt %+v, want a duplicate of event %d", r, id)
			}
			wantTally(t, s, tally{Events: 1})
		})
	}
}

// The body of an original is not stored once that of the recovered event has been
// removed: it may have been erased.
func TestOriginalOfErasedEvent(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	registerAll(t, s)
	mustRecover(t, s, recovery(1, lumin.SignatureRequestDeclined))
	exec(t, s.Pool(), `UPDATE lumin.events SET payload = NULL, payload_removed_at = now()`)
	d := original(1, lumin.SignatureRequestDeclined, "any")
	for _, r := range recordAll(t, s, d, d, from("app:crm", d)) {
		if r.Status != store.Duplicate || !r.Recovered || r.Conflict {
			t.Errorf("receipt %+v", r)
		}
	}
	const keptSQL = `SELECT string_agg(concat_ws(' ', differs, count, payload IS NULL, signature IS NULL), ', ') FROM lumin.redeliveries`
	if got, want := value[string](t, s.Pool(), keptSQL), "unknown 3 t t"; got != want {
		t.Errorf("redeliveries %q, want %q", got, want)
	}
	wantTally(t, s, tally{Events: 1, Runs: 2, Jobs: 2, Redeliveries: 3})
}

func TestRecoverRefuses(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	if _, err := recoverIn(t, s, recovery(1, lumin.SignatureRequestViewed)); err == nil || !strings.Contains(err.Error(), "cannot be recovered") {
		t.Errorf("a type that cannot be recovered: %v", err)
	}
	if _, err := recoverIn(t, s, store.Recovery{Payload: []byte(`{}`)}); err == nil {
		t.Error("a body without an identity was recovered")
	}
	// A program that would not recognize the original must not receive deliveries.
	approved := recovery(1, lumin.SignatureRequestApproved)
	program := catalog.Program{ID: [16]byte{1}, Role: "worker"}
	heartbeat := func() {
		t.Helper()
		if err := catalog.Heartbeat(t.Context(), s.Pool(), program); err != nil {
			t.Fatal(err)
		}
	}
	program.Role = "all"
	heartbeat()
	_, err := recoverIn(t, s, approved)
	wantError(t, err, store.ErrOlderProgram)
	wantTally(t, s, tally{})
	exec(t, s.Pool(), `UPDATE lumin.programs SET last_seen = now() - interval '2 minutes'`)
	program.ID, program.SchemaVersion = [16]byte{2}, store.SchemaVersion()
	heartbeat()
	program.ID, program.Role, program.SchemaVersion = [16]byte{3}, "worker", 0
	heartbeat()
	if r := mustRecover(t, s, approved); r.Status != store.Recorded {
		t.Errorf("receipt %+v", r)
	}
}

// A recovery and a recording of the original at the same time: whichever comes first
// wins, and the other waits for it.
func TestRecoverAtTheSameMoment(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	registerAll(t, s)
	r := newRecorder(t, s)

	// A recording is under way.
	tx := storetest.Begin(t, s)
	if _, err := s.RecordTx(t.Context(), tx, []store.Delivery{original(1, lumin.SignatureRequestApproved, "any")}, 0); err != nil {
		t.Fatal(err)
	}
	err := pgx.BeginFunc(t.Context(), s.Pool(), func(tx pgx.Tx) error {
		_, err := s.RecoverTx(t.Context(), tx, recovery(1, lumin.SignatureRequestApproved))
		return err
	})
	wantError(t, err, store.ErrRecoveryBusy)
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := mustRecover(t, s, recovery(1, lumin.SignatureRequestApproved)); r.Status != store.Duplicate {
		t.Errorf("after the recording: %+v", r)
	}

	// A recovery is under way, and commits or rolls back. Events of other types do
	// not wait for it.
	for n, commit := range map[int]bool{2: true, 3: false} {
		tx := storetest.Begin(t, s)
		if _, err := s.RecoverTx(t.Context(), tx, recovery(n, lumin.SignatureRequestApproved)); err != nil {
			t.Fatal(err)
		}
		exec(t, tx, `SET LOCAL idle_in_transaction_session_timeout = 0`) // the test may need longer on a busy machine
		mustRecord(t, r, delivery(100+n, "any"))
		receipts := make(chan store.Receipt)
		go func() { receipts <- mustRecord(t, r, original(n, lumin.SignatureRequestApproved, "any")) }()
		eventually(t, "the recording waits", func() bool {
			return value[bool](t, s.Pool(), `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
				AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))`)
		})
		end, want := tx.Commit, store.Duplicate
		if !commit {
			end, want = tx.Rollback, store.Recorded
		}
		if err := end(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := <-receipts; got.Status != want {
			t.Errorf("committed %v: %+v", commit, got)
		}
	}
	const twiceSQL = `SELECT count(*) FROM (SELECT FROM lumin.events WHERE event_type <> 'signature_request_signed' GROUP BY signature_request_id, event_type HAVING count(*) > 1) t`
	if n := value[int](t, s.Pool(), twiceSQL); n != 0 {
		t.Errorf("%d events were stored twice", n)
	}
}

// Two recoveries and the originals of two sources race for each event. It is stored
// either as recovered or as reported, never both, and each job type has one run.
func TestRecoverRaces(t *testing.T) {
	t.Parallel()
	s := storeOn(t, pgtest.PoolOf(t, pgtest.New(t), 12))
	if _, err := catalog.AddJobTypes(t.Context(), s.Pool(), []catalog.JobType{{Kind: "book", Queue: "default"}}); err != nil {
		t.Fatal(err)
	}
	r := newRecorder(t, s)
	const events = 150
	for n := range events {
		var racing sync.WaitGroup
		for range 2 {
			racing.Go(func() {
				if _, err := recoverIn(t, s, recovery(n, lumin.SignatureRequestApproved)); err != nil {
					t.Error(err)
				}
			})
		}
		for _, source := range []string{"account", "app:crm"} {
			racing.Go(func() {
				if _, err := r.Record(t.Context(), from(source, original(n, lumin.SignatureRequestApproved, "book"))); err != nil {
					t.Error(err)
				}
			})
		}
		racing.Wait()
	}
	const bothSQL = `SELECT count(*) FROM (SELECT FROM lumin.events GROUP BY signature_request_id HAVING bool_or(source = 'recovered') AND bool_or(source <> 'recovered')) b`
	if n := value[int](t, s.Pool(), bothSQL); n != 0 {
		t.Errorf("%d events are stored as recovered and as reported", n)
	}
	const ranSQL = `SELECT string_agg(DISTINCT n::text, ' ') FROM (SELECT count(DISTINCT r.event_key) AS n FROM lumin.events e JOIN lumin.runs r ON r.event_key = e.event_key GROUP BY e.signature_request_id) c`
	if got := value[string](t, s.Pool(), ranSQL); got != "1" {
		t.Errorf("runs per signature request: %s, want 1", got)
	}
	t.Logf("%d of %d events were recovered first", value[int](t, s.Pool(), `SELECT count(*) FROM lumin.events WHERE source = 'recovered'`), events)
	if n := value[int](t, s.Pool(), `SELECT count(DISTINCT signature_request_id) FROM lumin.events`); n != events {
		t.Errorf("%d events, want %d", n, events)
	}
}

// A program that hangs in a recovery does not stop deliveries for long.
func TestRecoveryThatHangs(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	r := newRecorder(t, s)
	tx := storetest.Begin(t, s)
	if _, err := s.RecoverTx(t.Context(), tx, recovery(1, lumin.SignatureRequestApproved)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the original is recorded", func() bool {
		receipt, err := r.Record(t.Context(), original(1, lumin.SignatureRequestApproved, "book"))
		return err == nil && receipt.Status == store.Recorded
	})
	if err := tx.Commit(t.Context()); err == nil {
		t.Error("the recovery was committed afterwards")
	}
}

// Only deliveries that may be originals are looked up, each by one probe of the index.
func TestRecoveredIsLookedUpByIndex(t *testing.T) {
	t.Parallel()
	conn := pgtest.Conn(t, pgtest.New(t))
	storetest.Fill(t, conn, 1, 20_000)
	exec(t, conn, `SET plan_cache_mode = force_generic_plan`)
	q := hotQueries()["record"]
	exec(t, conn, `PREPARE q AS `+q.sql)
	// None of these events is stored.
	args := strings.NewReplacer(`md5('25000')`, `md5('a')`, `md5('9')`, `md5('b')`, `md5('40000')`, `md5('c')`).Replace(q.args)
	for looked, args := range map[bool]string{true: args, false: strings.ReplaceAll(args, "true", "false")} {
		exec(t, conn, `BEGIN`)
		plan := explain(t, conn, `EXECUTE q(`+args+`)`)
		exec(t, conn, `ROLLBACK`)
		_, scan, found := strings.Cut(plan, "events_recovered_idx")
		scan, _, _ = strings.Cut(scan, "\n")
		if want := "never executed"; !found || strings.Contains(scan, want) == looked {
			t.Errorf("looked up %v:\n%s", looked, plan)
		}
		if looked && !strings.Contains(scan, "loops=3") {
			t.Errorf("not one probe for each event:\n%s", plan)
		}
	}
}

// An ordered job type works a recovered event in its place by event time.
func TestRecoveredInOrder(t *testing.T) {
	t.Parallel()
	l := newLane(t, "hold", 2)
	exec(t, l.store.Pool(), `UPDATE lumin.events SET event_time = event_time + interval '1 hour' WHERE id = (SELECT max(id) FROM lumin.events)`)
	l.deliveries[1].Envelope.EventTime = l.deliveries[1].Envelope.EventTime.Add(time.Hour)
	exec(t, l.store.Pool(), `UPDATE lumin.events SET event_key = $1 WHERE id = (SELECT max(id) FROM lumin.events)`, l.deliveries[1].Key())
	exec(t, l.store.Pool(), `UPDATE lumin.runs SET event_key = $1 WHERE event_id = (SELECT max(id) FROM lumin.events)`, l.deliveries[1].Key())
	between := &lumin.Envelope{
		SignatureRequestID: "request", EventType: lumin.SignatureRequestApproved,
		EventTime: l.deliveries[0].Envelope.EventTime.Add(time.Minute),
	}
	mustRecover(t, l.store, store.Recovery{RecoveredAt: time.Now(), Payload: fmt.Appendf(nil,
		`{"event":{"event_time":%d,"event_type":%q},"signature_request":{"signature_request_id":"request"}}`,
		between.EventTime.UnixMilli(), between.EventType)})
	l.deliveries = append(l.deliveries, store.Delivery{Envelope: between})
	l.commit(l.mustClaim(2, true, store.ErrNotHead))
	l.commit(l.mustClaim(3, true, store.ErrNotHead))
	l.commit(l.mustClaim(1, true, nil))
	l.wantHead("3 true")
	l.commit(l.mustClaim(3, false, nil))
	l.wantHead("2 true")
}
