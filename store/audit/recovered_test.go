package audit_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/store/audit"
	"lumin-ingest/store/internal/storetest"
)

// recordRecovered recovers an event and then records its original. It returns the
// id of the event.
func recordRecovered(tb testing.TB, s *store.Store) int64 {
	tb.Helper()
	var receipt store.Receipt
	err := pgx.BeginFunc(tb.Context(), s.Pool(), func(tx pgx.Tx) (err error) {
		receipt, err = s.RecoverTx(tb.Context(), tx, store.Recovery{
			Payload:     []byte(`{"event":{"event_time":1694664209999,"event_type":"signature_request_approved"},"signature_request":{"signature_request_id":"request-1"},"recovered":{"by":"ann"}}`),
			RecoveredAt: time.UnixMilli(1694900000000),
		})
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	original := storetest.Delivery(1)
	original.Envelope.EventType = lumin.SignatureRequestApproved
	original.Payload = []byte(strings.Replace(string(original.Payload), string(lumin.SignatureRequestSigned), string(lumin.SignatureRequestApproved), 1))
	if got := storetest.Record(tb, s, storetest.WithSecret(tb, original, storetest.Secret))[0]; got.EventID != receipt.EventID {
		tb.Fatalf("the original is %+v, not a redelivery of event %d", got, receipt.EventID)
	}
	return receipt.EventID
}

// A recovered event has no signature, so it is counted. Its hash, its identity and
// the signature of its original are checked, and so is that it was recovered at all.
func TestAuditRecovered(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ sql, want string }{
		"nothing":               {`SELECT $1::bigint`, ""},
		"its body":              {`UPDATE lumin.events SET payload = payload || ' ' WHERE id = $1`, "payload and payload_sha256"},
		"its time":              {`UPDATE lumin.events SET event_time = event_time + interval '1 ms' WHERE id = $1`, "payload and event_time"},
		"its event key":         {`UPDATE lumin.events SET event_key = md5('x')::uuid WHERE id = $1`, "payload and event_key"},
		"a signature":           {`UPDATE lumin.events SET signature = sha256('') WHERE id = $1`, "source and signature"},
		"a key":                 {`UPDATE lumin.events SET key_id = 'k' WHERE id = $1`, "source and key_id"},
		"another as recovered":  {`UPDATE lumin.events SET source = 'recovered', signature = '', key_id = '' WHERE id <> $1`, "payload and source"},
		"it as another":         {`UPDATE lumin.events SET source = 'account', key_id = lumin_key() WHERE id = $1`, "payload and signature"},
		"its original":          {`UPDATE lumin.redeliveries SET payload = payload || ' ' WHERE event_id = $1`, "payload and payload_sha256 of a redelivery"},
		"its original and hash": {`UPDATE lumin.redeliveries SET payload = payload || ' ', payload_sha256 = sha256(payload || ' ') WHERE event_id = $1`, "payload and signature of a redelivery"},
		"its original's key":    {`UPDATE lumin.redeliveries SET key_id = 'k' WHERE event_id = $1`, "payload and key_id of a redelivery"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := storetest.New(t)
			storetest.Record(t, s, storetest.WithSecret(t, storetest.Delivery(2), storetest.Secret))
			id := recordRecovered(t, s)
			storetest.Exec(t, s.Pool(), strings.Replace(test.sql, "lumin_key()", "'"+lumin.KeyID(storetest.Secret)+"'", 1), id)
			result, found := auditAll(t, s, storetest.Secret)
			if got := strings.Join(found, ", "); got != test.want {
				t.Errorf("found %q, want %q", got, test.want)
			}
			if result.Checked != 2 || result.Redeliveries != 1 || len(result.Revoked) > 0 || result.Tampered != int64(len(found)) {
				t.Errorf("%+v", result)
			}
			if test.want == "" && result.Recovered != 1 {
				t.Errorf("%d recovered", result.Recovered)
			}
		})
	}
}

// Recovered events belong to no key and to no source that could fall silent.
func TestKeyUseOfRecovered(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	recordRecovered(t, s)
	if uses, err := audit.KeysUsed(t.Context(), s.Pool()); err != nil || len(uses) != 0 {
		t.Errorf("%v, %v", uses, err)
	}
	storetest.Record(t, s, storetest.Delivery(2))
	uses, err := audit.KeysUsed(t.Context(), s.Pool())
	if got := fmt.Sprint(len(uses), err); got != "1 <nil>" || uses[0].Source != "account" {
		t.Errorf("%s, %v", got, uses)
	}
}
