package store_test

import (
	"encoding/hex"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// signed is a delivery as a secret of its source signs it.
func signed(tb testing.TB, d store.Delivery, secret string) store.Delivery {
	tb.Helper()
	signature, err := hex.DecodeString(lumin.Sign(d.Payload, secret))
	if err != nil {
		tb.Fatal(err)
	}
	d.Signature, d.KeyID = signature, lumin.KeyID(secret)
	return d
}

// auditAll audits everything with one secret of the account.
func auditAll(tb testing.TB, s *store.Store, secret string) (store.Audit, []string) {
	tb.Helper()
	keyring, err := lumin.NewKeyring(secret)
	if err != nil {
		tb.Fatal(err)
	}
	var found []string
	audit, err := s.Audit(tb.Context(), nil, nil, map[string]*lumin.Keyring{"account": keyring}, func(t store.Tampered) error {
		found = append(found, t.What)
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return audit, found
}

// Whatever tells who signed what is missed when it is changed, and the event is
// counted once.
func TestAuditFindsTampering(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ set, want string }{
		"nothing":               {`received_at = received_at`, ""},
		"body":                  {`payload = payload || ' '`, "payload and payload_sha256"},
		"hash":                  {`payload_sha256 = sha256('')`, "payload and payload_sha256"},
		"body with its hash":    {`payload = payload || ' ', payload_sha256 = sha256(payload || ' ')`, "payload and signature"},
		"signature":             {`signature = sha256('')`, "payload and signature"},
		"a short signature":     {`signature = ''`, "payload and signature"},
		"key":                   {`key_id = '0123456789abcdef'`, "payload and key_id"},
		"event key":             {`event_key = md5('x')::uuid`, "payload and event_key"},
		"signature request":     {`signature_request_id = 'other'`, "payload and signature_request_id"},
		"event type":            {`event_type = 'other'`, "payload and event_type"},
		"event time":            {`event_time = event_time + interval '1 ms'`, "payload and event_time"},
		"an infinite time":      {`event_time = 'infinity'`, "payload and event_time"},
		"made unrecognized":     {`event_type = NULL, event_time = NULL, signature_request_id = NULL`, "payload and event_key"},
		"made another source's": {`source = 'app:crm'`, ""}, // whose secret is not given
		"removed body":          {`payload = NULL, payload_removed_at = now(), payload_sha256 = sha256('')`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			receipts := recordAll(t, s, signed(t, delivery(1), "secret"), signed(t, delivery(2), "secret"))
			exec(t, s.Pool(), `UPDATE lumin.events SET `+c.set+` WHERE id = $1`, receipts[0].EventID)
			audit, found := auditAll(t, s, "secret")
			if got := strings.Join(found, ", "); got != c.want {
				t.Errorf("found %q, want %q", got, c.want)
			}
			if audit.Tampered != int64(len(found)) || audit.Checked+audit.Removed != 2 {
				t.Errorf("%+v", audit)
			}
		})
	}
}

// Unrecognized events have no identity but that of their body; bodies that came
// again have a hash.
func TestAuditOfOthers(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	odd := store.Delivery{Source: "account", Payload: []byte("?"), ReceivedAt: delivery(3).ReceivedAt}
	// One that an older program could not read, and its better reading.
	late := delivery(4)
	unread := late
	unread.Envelope = nil
	receipts := recordAll(t, s, signed(t, odd, "secret"), signed(t, delivery(1), "secret"), signed(t, late, "secret"), signed(t, unread, "secret"))
	recordAll(t, s, signed(t, variant(1, "fresh", "title"), "secret"))
	exec(t, s.Pool(), `UPDATE lumin.events SET decoded_from = $1 WHERE id = $2`, receipts[3].EventID, receipts[2].EventID)
	audit, found := auditAll(t, s, "secret")
	if audit.Checked != 4 || audit.Redeliveries != 1 || len(found) > 0 || len(audit.Revoked) > 0 {
		t.Errorf("%+v, %q", audit, found)
	}

	exec(t, s.Pool(), `UPDATE lumin.redeliveries SET payload = payload || ' ' WHERE payload IS NOT NULL`)
	exec(t, s.Pool(), `UPDATE lumin.events SET payload = payload || ' ' WHERE id = ANY ($1)`, []int64{receipts[0].EventID, receipts[1].EventID})
	audit, found = auditAll(t, s, "secret")
	if audit.Tampered != 2 || len(found) != 3 || !slices.Contains(found, "payload and payload_sha256 of a redelivery") {
		t.Errorf("%+v, %q", audit, found)
	}
}

// Events under a key that is gone are no tampering, but their hash and identity
// are checked.
func TestAuditRevokedKeys(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	receipts := recordAll(t, s, signed(t, delivery(1), "old"), signed(t, delivery(2), "old"), signed(t, delivery(3), "new"),
		signed(t, from("app:crm", delivery(4)), "new"))
	audit, found := auditAll(t, s, "new")
	got := fmt.Sprintf("%d %q", audit.Checked, found)
	for _, use := range audit.Revoked {
		got += fmt.Sprintf("; %s %s %d %t %t", use.Source, use.KeyID, use.Events,
			use.FirstAt.Equal(delivery(1).ReceivedAt) || use.FirstAt.Equal(delivery(4).ReceivedAt), use.LastAt.After(delivery(1).ReceivedAt))
	}
	if want := fmt.Sprintf("4 []; account %s 2 true true; app:crm %s 1 true true", lumin.KeyID("old"), lumin.KeyID("new")); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	exec(t, s.Pool(), `UPDATE lumin.events SET payload_sha256 = '' WHERE id = $1`, receipts[0].EventID)
	if _, found := auditAll(t, s, "new"); len(found) != 1 {
		t.Errorf("found %q", found)
	}
}

// Several pages, of which each event is looked at once, also where many were
// received at one time; and a range.
func TestAuditPages(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	var all []store.Delivery
	for n := range 2500 {
		d := delivery(n)
		d.ReceivedAt = delivery(n / 1200).ReceivedAt
		all = append(all, signed(t, d, "secret"))
	}
	recordAll(t, s, all...)
	if audit, found := auditAll(t, s, "secret"); audit.Checked != 2500 || len(found) > 0 {
		t.Errorf("%+v, %q", audit, found)
	}
	since, until := delivery(1).ReceivedAt, delivery(2).ReceivedAt
	for _, c := range []struct {
		since, until *time.Time
		want         int64
	}{{&since, &until, 1200}, {&since, nil, 1300}, {nil, &until, 2400}} {
		audit, err := s.Audit(t.Context(), c.since, c.until, nil, nil)
		if err != nil || audit.Checked != c.want {
			t.Errorf("since %v until %v: %+v, %v, want %d", c.since, c.until, audit, err, c.want)
		}
	}
}

// No event is out of sight because its time was moved, and that is missed as well.
func TestAuditOfMovedTimes(t *testing.T) {
	t.Parallel()
	const forged = `payload = 'x', `
	for _, c := range []struct{ set, want string }{
		{`received_at = 'infinity'`, "received_at and the clock"},
		{`received_at = '-infinity'`, "received_at and the clock"},
		{`received_at = '3000-01-01'`, "received_at and the clock"},
		{`received_at = '200000-01-01'`, "received_at and the clock"},
		{`received_at = now() + interval '61 minutes'`, "received_at and the clock"},
		{`received_at = now() + interval '59 minutes'`, ""},
		{`received_at = '0001-01-01'`, "received_at and event_time"},
		{`received_at = '4000-01-01 BC'`, "received_at and event_time"},
		{`received_at = event_time - interval '10 minutes 1 ms'`, "received_at and event_time"},
		{`received_at = event_time - interval '10 minutes'`, ""},
		{`received_at = '0001-01-01', decoded_from = 2`, ""}, // decoded anew: its event_time was of no account
		{`received_at = 'infinity', payload = NULL, payload_removed_at = now()`, "received_at and the clock"},
		{forged + `received_at = 'infinity'`, "payload and payload_sha256"},
		{forged + `received_at = '-infinity'`, "payload and payload_sha256"},
		{forged + `received_at = '3000-01-01'`, "payload and payload_sha256"},
		{forged + `received_at = '4000-01-01 BC'`, "payload and payload_sha256"},
	} {
		t.Run(c.set, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			receipts := recordAll(t, s, signed(t, delivery(1), "secret"), signed(t, delivery(2), "secret"))
			recordAll(t, s, signed(t, variant(1, "fresh", "title"), "secret")) // a redelivery is looked at with it
			exec(t, s.Pool(), `ALTER TABLE lumin.events DROP CONSTRAINT IF EXISTS events_received_at_finite`)
			exec(t, s.Pool(), `UPDATE lumin.events SET `+c.set+` WHERE id = $1`, receipts[0].EventID)
			audit, found := auditAll(t, s, "secret")
			if got := strings.Join(found, ", "); got != c.want || audit.Tampered != int64(len(found)) || audit.Checked+audit.Removed != 2 {
				t.Errorf("found %q, want %q; %+v", got, c.want, audit)
			}
			// Under another key it is no worse: the use of the old one may begin or end at infinity.
			if audit, _ := auditAll(t, s, "other"); len(audit.Revoked) != 1 || audit.Revoked[0].Events != audit.Checked {
				t.Errorf("%+v", audit)
			}
		})
	}
}

// What tampering could only do with the constraint out of its way.
func TestReceivedAtIsFinite(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	recordAll(t, s, delivery(1))
	for _, at := range []string{"infinity", "-infinity"} {
		if _, err := s.Pool().Exec(t.Context(), `UPDATE lumin.events SET received_at = $1::text::timestamptz`, at); err == nil {
			t.Errorf("an event was received at %s", at)
		}
	}
}

// Bodies are gone through one by one, however large they are and however many,
// those of redeliveries as well. What is in use while each one is reported counts,
// not what has been allocated: the race detector has pools of buffers forget some.
// Not in parallel: what others hold would count.
func TestAuditMemory(t *testing.T) {
	s := newStore(t)
	const events, size = 20, 1 << 20
	for n := range events {
		recordAll(t, s, signed(t, delivery(n), "secret"), signed(t, variant(n, "https://example.com/?token=1", "another title"), "secret"))
	}
	// So each one is reported, and nothing of it may be kept until the end.
	for _, table := range []string{"events", "redeliveries"} {
		exec(t, s.Pool(), `UPDATE lumin.`+table+` SET payload = payload || convert_to(repeat(' ', $1), 'UTF8')`, size)
	}
	keyring, err := lumin.NewKeyring("secret")
	if err != nil {
		t.Fatal(err)
	}
	inUse := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // the first one leaves what pools hold
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, reported, most := inUse(), 0, uint64(0)
	audit, err := s.Audit(t.Context(), nil, nil, map[string]*lumin.Keyring{"account": keyring}, func(store.Tampered) error {
		reported++
		most = max(most, inUse())
		return nil
	})
	if err != nil || reported != 2*events || audit.Checked != events || audit.Redeliveries != events {
		t.Errorf("%d reported, %+v, %v", reported, audit, err)
	}
	if most > before+8*size {
		t.Errorf("%d bytes in use for bodies of %d, %d before", most, 2*events*size, before)
	}
	t.Logf("%d KiB more in use", (int64(most)-int64(before))>>10)
}
