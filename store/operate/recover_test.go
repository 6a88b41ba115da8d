package operate_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/operate"
)

// recovered is a declined event of a signature request.
func recovered(id string) store.Recovery {
	return store.Recovery{RecoveredAt: time.Now(), Payload: fmt.Appendf(nil,
		`{"event":{"event_time":1694664209999,"event_type":%q},"signature_request":{"signature_request_id":%q}}`, lumin.SignatureRequestDeclined, id)}
}

// An event, its runs and its row of the log are stored together, or not at all.
func TestRecover(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Register(t, s, "book")
	o := operate.New(s)
	storetest.Exec(t, s.Pool(), `
		INSERT INTO lumin.erasures (subject, signature_request_ids, event_ids, last_event_id, reason) VALUES ('signature_request', '{erased}', '{}', 0, 'r')`)
	if _, err := o.Recover(t.Context(), ann(), "erased", lumin.SignatureRequestDeclined, recovered("erased")); !errors.Is(err, operate.ErrErased) {
		t.Errorf("an erased one: %v", err)
	}
	storetest.Exec(t, s.Pool(), `ALTER TABLE lumin.audit_log ADD CONSTRAINT broken CHECK (action <> 'recover_event')`)
	if receipt, err := o.Recover(t.Context(), ann(), "a", lumin.SignatureRequestDeclined, recovered("a")); err == nil {
		t.Errorf("without the log: %+v", receipt)
	}
	storetest.Exec(t, s.Pool(), `ALTER TABLE lumin.audit_log DROP CONSTRAINT broken`)
	if n := storetest.Value[int](t, s.Pool(), `SELECT (SELECT count(*) FROM lumin.events) + (SELECT count(*) FROM lumin.runs) + (SELECT count(*) FROM lumin.audit_log)`); n != 0 {
		t.Errorf("%d rows are stored", n)
	}
	for _, want := range []store.Status{store.Recorded, store.Duplicate} {
		if receipt, err := o.Recover(t.Context(), ann(), "a", lumin.SignatureRequestDeclined, recovered("a")); err != nil || receipt.Status != want {
			t.Errorf("%+v, %v, want %s", receipt, err, want)
		}
	}
	id := storetest.Value[int64](t, s.Pool(), `SELECT id FROM lumin.events`)
	wantLog(t, o, fmt.Sprintf(`ann dashboard 10.0.0.7 recover_event {"event": %d, "event_type": "signature_request_declined"} done`, id))
}

// trips counts round trips after the one that takes the lock of recoveries.
type trips struct {
	locked bool
	after  []string
}

func (c *trips) note(sql string) {
	if c.locked {
		c.after = append(c.after, strings.Join(strings.Fields(sql), " "))
	}
	c.locked = c.locked || strings.Contains(sql, "pg_advisory_xact_lock(")
}

func (c *trips) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	c.note(data.SQL)
	return ctx
}

func (*trips) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (c *trips) TraceBatchStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	var all []string
	for _, q := range data.Batch.QueuedQueries {
		all = append(all, q.SQL)
	}
	c.note(strings.Join(all, "; "))
	return ctx
}

func (*trips) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}
func (*trips) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData)     {}

// Recordings wait while a recovery holds its lock, so few round trips follow it: the
// event, the notification of the workers, the log, and COMMIT.
func TestRecoverHoldsLockBriefly(t *testing.T) {
	t.Parallel()
	config, err := pgxpool.ParseConfig(pgtest.New(t))
	if err != nil {
		t.Fatal(err)
	}
	counted := &trips{}
	config.ConnConfig.Tracer = counted
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	s := storetest.On(t, pool)
	storetest.Register(t, s, "book")
	receipt, err := operate.New(s).Recover(t.Context(), ann(), "a", lumin.SignatureRequestDeclined, recovered("a"))
	if err != nil || receipt.Status != store.Recorded || len(counted.after) != 4 {
		t.Errorf("%+v, %v, %d round trips: %q", receipt, err, len(counted.after), counted.after)
	}
}

// The newest pass without an outcome may be under way.
func TestOpenPass(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	o := operate.New(s)
	open := func() bool {
		t.Helper()
		by, at, found, err := o.OpenPass(t.Context())
		if err != nil || found && (by != "ann" || time.Since(at) > 15*time.Minute) {
			t.Errorf("%q at %v, %v", by, at, err)
		}
		return found
	}
	if open() {
		t.Error("found without a pass")
	}
	p, err := o.BeginPass(t.Context(), ann(), nil, "")
	if err != nil || !open() {
		t.Errorf("not found while it is under way: %v", err)
	}
	if err := p.Finish(t.Context(), nil); err != nil || open() {
		t.Errorf("found after its end: %v", err)
	}
	if p, err = o.BeginPass(t.Context(), ann(), nil, ""); err != nil {
		t.Fatal(err)
	}
	later := func() {
		t.Helper()
		storetest.Exec(t, s.Pool(), `
			UPDATE lumin.audit_log SET at = at - interval '4 minutes',
			    result = result || jsonb_build_object('saved_at', (result ->> 'saved_at')::timestamptz - interval '4 minutes')`)
	}
	later()
	if open() {
		t.Error("found long after it was killed")
	}
	if err := p.Save(t.Context()); err != nil || !open() {
		t.Errorf("not found although it goes on: %v", err)
	}
}

// A pass continues the newest one with the same subject, if that was stopped.
func TestPass(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	o := operate.New(s)
	type about map[string]any
	begin := func(subject about, want operate.Progress) *operate.Pass {
		t.Helper()
		p, err := o.BeginPass(t.Context(), ann(), subject, "after the outage")
		if err != nil {
			t.Fatal(err)
		}
		if p.Progress != want {
			t.Errorf("%v begins with %+v, want %+v", subject, p.Progress, want)
		}
		return p
	}
	come := operate.Progress{Checked: 7, Recorded: 3, Unknown: 2, Retried: 1, Until: "2026-11-28T07:00:00Z", After: "g"}
	p := begin(about{}, operate.Progress{})
	p.Progress = come
	if err := p.Save(t.Context()); err != nil { // and then it is killed
		t.Fatal(err)
	}
	begin(about{"sha256": "x"}, operate.Progress{})
	p = begin(about{}, come)
	p.Checked, p.After = 9, "i"
	if err := p.Finish(t.Context(), errors.New("interrupted")); err != nil {
		t.Fatal(err)
	}
	come.Checked, come.After = 9, "i"
	begin(about{}, come) // killed at once
	p = begin(about{}, come)
	if err := p.Finish(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	p = begin(about{}, operate.Progress{}) // a new one
	p.Progress = come
	if err := p.Save(t.Context()); err != nil {
		t.Fatal(err)
	}
	storetest.Exec(t, s.Pool(), `UPDATE lumin.audit_log SET at = at - interval '25 hours'`)
	begin(about{}, operate.Progress{})
	rows, err := o.List(t.Context(), operate.Filter{Action: "recover", Limit: 10})
	if err != nil || len(rows) != 7 {
		t.Fatal(len(rows), err)
	}
	if got := text(rows[2]); got != `ann dashboard 10.0.0.7 recover {} done {"checked": 9, "recorded": 3} because after the outage` {
		t.Error(got)
	}
}
