//go:build unix

package faults

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/sample"
	"lumin-ingest/lumin"
)

// sentDelivery returns a new delivery.
func sentDelivery(t *testing.T) *Delivery {
	t.Helper()
	body := sample.Delivery{EventType: lumin.SignatureRequestSigned, SignatureRequestID: sample.RandomHex(20), At: time.Now()}.Body()
	envelope, err := lumin.DecodeEnvelope(body)
	if err != nil {
		t.Fatal(err)
	}
	return &Delivery{Key: envelope.Key(), Source: accountSource, Body: body}
}

// storeWorked stores a delivery as the program does when all its work is done.
func storeWorked(t *testing.T, conn *pgx.Conn, d *Delivery) (id int64) {
	t.Helper()
	id = pgtest.Value[int64](t, conn, `
		INSERT INTO lumin.events (event_key, source, payload, payload_sha256, signature, key_id, received_at)
		VALUES ($1, $2, $3, sha256($3), '', 'k', now()) RETURNING id`, [16]byte(d.Key), d.Source, d.Body)
	pgtest.Exec(t, conn, `
		INSERT INTO lumin.runs (event_key, job_kind, event_id, state, finished_at)
		SELECT $1, unnest($2::text[]), $3, 'succeeded', now()`, [16]byte(d.Key), []string{EffectKind, stateKind}, id)
	pgtest.Exec(t, conn, `INSERT INTO faults.effects (event_key, job_kind, rerun) VALUES ($1, $2, 0)`, [16]byte(d.Key), EffectKind)
	return id
}

// acknowledge records an attempt that was answered 200.
func acknowledge(l *Ledger, d *Delivery, id int64, at time.Time) {
	l.answered(d, l.attempt(d, at.Add(-time.Millisecond)), at.Add(-time.Millisecond), at, answer{status: 200, id: id})
}

// Two deliveries are acknowledged, before and after a restore's point in time. A
// third one is acknowledged only by the restored program.
func TestDrill(t *testing.T) {
	t.Parallel()
	conn := pgtest.Conn(t, pgtest.New(t))
	if err := Prepare(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	early, late, open := sentDelivery(t), sentDelivery(t), sentDelivery(t)
	limit, forever := time.Now(), time.Now().AddDate(1, 0, 0)
	before, after := newTestLedger(t), newTestLedger(t)
	acknowledge(before, early, storeWorked(t, conn, early), limit.Add(-time.Second))
	acknowledge(before, late, storeWorked(t, conn, late), limit.Add(time.Second))
	before.attempt(open, limit)

	folder := t.TempDir()
	files := []string{filepath.Join(folder, "before"), filepath.Join(folder, "after")}
	again := written(t, before, files[0])
	left := slices.DeleteFunc(again, func(s Sent) bool { return s.Body == nil })
	if len(left) != 1 || left[0].Key != open.Key || string(left[0].Body) != string(open.Body) {
		t.Errorf("%d deliveries are to be sent again, want one", len(left))
	}
	acknowledge(after, open, storeWorked(t, conn, open), limit.Add(2*time.Second))
	written(t, after, files[1])
	sent, err := ReadSent(files...)
	if err != nil || len(sent) != 3 {
		t.Fatalf("%d deliveries, %v", len(sent), err)
	}

	wantComparison(t, conn, sent, forever, 0, "")
	pgtest.Exec(t, conn, `DELETE FROM lumin.events WHERE event_key = '`+late.Key.String()+`';
		DELETE FROM lumin.runs WHERE event_key = '`+late.Key.String()+`'; DELETE FROM faults.effects WHERE event_key = '`+late.Key.String()+`'`)
	wantComparison(t, conn, sent, forever, 0, AckedOnce)
	wantComparison(t, conn, sent, limit, 1, "")
	wantComparison(t, conn, sent, time.Time{}, 1, "")
	pgtest.Exec(t, conn, `DELETE FROM faults.effects WHERE event_key = $1`, [16]byte(early.Key))
	wantComparison(t, conn, sent, limit, 1, EffectOnce)
}

// written writes the deliveries of a ledger, and reads them again.
func written(t *testing.T, l *Ledger, path string) []Sent {
	t.Helper()
	if err := l.WriteSent(path); err != nil {
		t.Fatal(err)
	}
	sent, err := ReadSent(path)
	if err != nil {
		t.Fatal(err)
	}
	return sent
}

// wantComparison compares a database. violated is the checker that must fail.
func wantComparison(t *testing.T, conn *pgx.Conn, sent []Sent, limit time.Time, lost int, violated string) {
	t.Helper()
	c, err := Compare(t.Context(), conn, sent, limit)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, v := range c.Violations {
		names = append(names, v.Checker)
	}
	if c.Lost(sent) != lost || c.Acknowledged != 3 || strings.Join(names, ", ") != violated {
		t.Errorf("%d of %d lost, violated: %q; want %d of 3, %q", c.Lost(sent), c.Acknowledged, names, lost, violated)
	}
	if n := pgtest.Value[int](t, conn, `SELECT count(*)::int FROM faults.ledger`); n != 0 {
		t.Errorf("the comparison left %d rows", n)
	}
}
