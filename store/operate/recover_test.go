package operate_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

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
	come := operate.Progress{Checked: 7, Recorded: 3, After: "g"}
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
	begin(about{}, operate.Progress{Checked: 9, Recorded: 3, After: "i"}) // killed at once
	p = begin(about{}, operate.Progress{Checked: 9, Recorded: 3, After: "i"})
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
