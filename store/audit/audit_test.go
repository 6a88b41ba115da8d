package audit_test

import (
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/store/audit"
	"lumin-ingest/store/internal/storetest"
)

// recordAtOnce records deliveries in a few transactions.
func recordAtOnce(t *testing.T, s *store.Store, deliveries []store.Delivery) {
	t.Helper()
	recorder := store.NewRecorder(s, slog.New(slog.DiscardHandler), nil)
	defer recorder.Close()
	var callers sync.WaitGroup
	for _, d := range deliveries {
		callers.Go(func() {
			if _, err := recorder.Record(t.Context(), d); err != nil {
				t.Error(err)
			}
		})
	}
	callers.Wait()
}

// auditAll audits everything with one secret of the account.
func auditAll(tb testing.TB, s *store.Store, secret string) (audit.Result, []string) {
	tb.Helper()
	keyring, err := lumin.NewKeyring(secret)
	if err != nil {
		tb.Fatal(err)
	}
	var found []string
	result, err := audit.Run(tb.Context(), s.Pool(), audit.Range{}, map[string]*lumin.Keyring{"account": keyring}, func(f audit.Finding) error {
		found = append(found, f.What)
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return result, found
}

// Each change of a body, its signature or its identity is found, and the event
// is counted once.
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
		"made another source's": {`source = 'app:crm'`, ""}, // the audit has no secret of that source
		"removed body":          {`payload = NULL, payload_removed_at = now(), payload_sha256 = sha256('')`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := storetest.New(t)
			receipts := storetest.Record(t, s, storetest.WithSecret(t, storetest.Delivery(1), storetest.Secret), storetest.WithSecret(t, storetest.Delivery(2), storetest.Secret))
			storetest.Exec(t, s.Pool(), `UPDATE lumin.events SET `+c.set+` WHERE id = $1`, receipts[0].EventID)
			result, found := auditAll(t, s, storetest.Secret)
			if got := strings.Join(found, ", "); got != c.want {
				t.Errorf("found %q, want %q", got, c.want)
			}
			if result.Tampered != int64(len(found)) || result.Checked+result.Removed != 2 {
				t.Errorf("%+v", result)
			}
		})
	}
}

// An unrecognized event has only the identity of its body. Bodies of
// redeliveries have a hash.
func TestAuditUnrecognizedAndRedeliveries(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	odd := store.Delivery{Source: "account", Payload: []byte("?"), ReceivedAt: storetest.Delivery(3).ReceivedAt}
	// An event that an older program could not decode, and the event decoded
	// from it.
	late := storetest.Delivery(4)
	unread := late
	unread.Envelope = nil
	receipts := storetest.Record(t, s, storetest.WithSecret(t, odd, storetest.Secret), storetest.WithSecret(t, storetest.Delivery(1), storetest.Secret), storetest.WithSecret(t, late, storetest.Secret), storetest.WithSecret(t, unread, storetest.Secret))
	storetest.Record(t, s, storetest.WithSecret(t, storetest.Variant(1, "fresh", "title"), storetest.Secret))
	storetest.Exec(t, s.Pool(), `UPDATE lumin.events SET decoded_from = $1 WHERE id = $2`, receipts[3].EventID, receipts[2].EventID)
	result, found := auditAll(t, s, storetest.Secret)
	if result.Checked != 4 || result.Redeliveries != 1 || len(found) > 0 || len(result.Revoked) > 0 {
		t.Errorf("%+v, %q", result, found)
	}

	storetest.Exec(t, s.Pool(), `UPDATE lumin.redeliveries SET payload = payload || ' ' WHERE payload IS NOT NULL`)
	storetest.Exec(t, s.Pool(), `UPDATE lumin.events SET payload = payload || ' ' WHERE id = ANY ($1)`, []int64{receipts[0].EventID, receipts[1].EventID})
	result, found = auditAll(t, s, storetest.Secret)
	if result.Tampered != 2 || len(found) != 3 || !slices.Contains(found, "payload and payload_sha256 of a redelivery") {
		t.Errorf("%+v, %q", result, found)
	}
}

// Events under a removed key do not count as tampered. Their hash and identity
// are checked.
func TestAuditRevokedKeys(t *testing.T) {
	const oldSecret, newSecret = "old_storetest_account_key", "new_storetest_account_key"
	t.Parallel()
	s := storetest.New(t)
	receipts := storetest.Record(t, s, storetest.WithSecret(t, storetest.Delivery(1), oldSecret), storetest.WithSecret(t, storetest.Delivery(2), oldSecret), storetest.WithSecret(t, storetest.Delivery(3), newSecret),
		storetest.WithSecret(t, storetest.From("app:crm", storetest.Delivery(4)), newSecret))
	result, found := auditAll(t, s, newSecret)
	got := fmt.Sprintf("%d %q", result.Checked, found)
	for _, use := range result.Revoked {
		got += fmt.Sprintf("; %s %s %d %t %t", use.Source, use.KeyID, use.Events,
			use.FirstAt.Equal(storetest.Delivery(1).ReceivedAt) || use.FirstAt.Equal(storetest.Delivery(4).ReceivedAt), use.LastAt.After(storetest.Delivery(1).ReceivedAt))
	}
	if want := fmt.Sprintf("4 []; account %s 2 true true; app:crm %s 1 true true", lumin.KeyID(oldSecret), lumin.KeyID(newSecret)); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	storetest.Exec(t, s.Pool(), `UPDATE lumin.events SET payload_sha256 = '' WHERE id = $1`, receipts[0].EventID)
	if _, found := auditAll(t, s, newSecret); len(found) != 1 {
		t.Errorf("found %q", found)
	}
}

// Over several pages each event is checked once, even if many have the same
// time of receipt. A range limits the events.
func TestAuditPages(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	var all []store.Delivery
	for n := range 2500 {
		d := storetest.Delivery(n)
		d.ReceivedAt = storetest.Delivery(n / 1200).ReceivedAt
		all = append(all, storetest.WithSecret(t, d, storetest.Secret))
	}
	recordAtOnce(t, s, all)
	if result, found := auditAll(t, s, storetest.Secret); result.Checked != 2500 || len(found) > 0 {
		t.Errorf("%+v, %q", result, found)
	}
	since, until := storetest.Delivery(1).ReceivedAt, storetest.Delivery(2).ReceivedAt
	for _, c := range []struct {
		since, until *time.Time
		want         int64
	}{{&since, &until, 1200}, {&since, nil, 1300}, {nil, &until, 2400}} {
		result, err := audit.Run(t.Context(), s.Pool(), audit.Range{Since: c.since, Until: c.until}, nil, nil)
		if err != nil || result.Checked != c.want {
			t.Errorf("since %v until %v: %+v, %v, want %d", c.since, c.until, result, err, c.want)
		}
	}
}

// An event is checked even if its time was altered, and the alteration is
// found.
func TestAuditAlteredTimes(t *testing.T) {
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
		{`received_at = '0001-01-01', decoded_from = 2`, ""}, // decoded again, so its event_time is not compared
		{`received_at = 'infinity', payload = NULL, payload_removed_at = now()`, "received_at and the clock"},
		{forged + `received_at = 'infinity'`, "payload and payload_sha256"},
		{forged + `received_at = '-infinity'`, "payload and payload_sha256"},
		{forged + `received_at = '3000-01-01'`, "payload and payload_sha256"},
		{forged + `received_at = '4000-01-01 BC'`, "payload and payload_sha256"},
	} {
		t.Run(c.set, func(t *testing.T) {
			t.Parallel()
			s := storetest.New(t)
			receipts := storetest.Record(t, s, storetest.WithSecret(t, storetest.Delivery(1), storetest.Secret), storetest.WithSecret(t, storetest.Delivery(2), storetest.Secret))
			storetest.Record(t, s, storetest.WithSecret(t, storetest.Variant(1, "fresh", "title"), storetest.Secret)) // so that a redelivery is checked too
			storetest.Exec(t, s.Pool(), `ALTER TABLE lumin.events DROP CONSTRAINT IF EXISTS events_received_at_finite`)
			storetest.Exec(t, s.Pool(), `UPDATE lumin.events SET `+c.set+` WHERE id = $1`, receipts[0].EventID)
			result, found := auditAll(t, s, storetest.Secret)
			if got := strings.Join(found, ", "); got != c.want || result.Tampered != int64(len(found)) || result.Checked+result.Removed != 2 {
				t.Errorf("found %q, want %q; %+v", got, c.want, result)
			}
			// With another key the audit also works: the use of the old key may
			// begin or end at infinity.
			if result, _ := auditAll(t, s, "other_storetest_account_key"); len(result.Revoked) != 1 || result.Revoked[0].Events != result.Checked {
				t.Errorf("%+v", result)
			}
		})
	}
}

// Without the constraint, tampering can set an infinite time.
func TestReceivedAtIsFinite(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Record(t, s, storetest.Delivery(1))
	for _, at := range []string{"infinity", "-infinity"} {
		if _, err := s.Pool().Exec(t.Context(), `UPDATE lumin.events SET received_at = $1::text::timestamptz`, at); err == nil {
			t.Errorf("an event was received at %s", at)
		}
	}
}

// The audit checks bodies and bodies of redeliveries one by one, whatever their
// size and number. The test measures the memory in use at each finding, not the
// allocated memory, because under the race detector pools drop buffers. It is
// not parallel, because the memory of other tests would count.
func TestAuditMemory(t *testing.T) {
	s := storetest.New(t)
	const events, size = 20, 1 << 20
	for n := range events {
		storetest.Record(t, s, storetest.WithSecret(t, storetest.Delivery(n), storetest.Secret), storetest.WithSecret(t, storetest.Variant(n, "https://example.com/?token=1", "another title"), storetest.Secret))
	}
	// Each event has a finding, and its body must not be kept until the end.
	for _, table := range []string{"events", "redeliveries"} {
		storetest.Exec(t, s.Pool(), `UPDATE lumin.`+table+` SET payload = payload || convert_to(repeat(' ', $1), 'UTF8')`, size)
	}
	keyring, err := lumin.NewKeyring(storetest.Secret)
	if err != nil {
		t.Fatal(err)
	}
	inUse := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // the first run leaves the contents of pools
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, reported, most := inUse(), 0, uint64(0)
	result, err := audit.Run(t.Context(), s.Pool(), audit.Range{}, map[string]*lumin.Keyring{"account": keyring}, func(audit.Finding) error {
		reported++
		most = max(most, inUse())
		return nil
	})
	if err != nil || reported != 2*events || result.Checked != events || result.Redeliveries != events {
		t.Errorf("%d reported, %+v, %v", reported, result, err)
	}
	if most > before+8*size {
		t.Errorf("%d bytes in use for bodies of %d, %d before", most, 2*events*size, before)
	}
	t.Logf("%d KiB more in use", (int64(most)-int64(before))>>10)
}
