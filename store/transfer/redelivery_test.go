package transfer_test

import (
	"errors"
	"strings"
	"testing"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/migrations"
	"lumin-ingest/store"
	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/transfer"
)

// The body of an original becomes a redelivery of the event that was recovered here,
// as if it had been delivered late. A body that was erased here does not come back.
func TestImportOriginal(t *testing.T) {
	t.Parallel()
	from := storetest.New(t)
	app := storetest.From("app:crm", approved(6))
	storetest.Record(t, from, approved(5), approved(6), app, app)
	lines := export(t, from, true)
	address := pgtest.New(t)
	pgtest.UseRoles(t, address)
	to := storetest.On(t, pgtest.Pool(t, pgtest.Login(t, address, migrations.Admin)))
	for _, n := range []int{5, 6} {
		recoverAt(t, to, approved(n), 1694664209999)
	}
	storetest.Exec(t, pgtest.Pool(t, address), `UPDATE lumin.events SET payload = NULL, payload_removed_at = now() WHERE signature_request_id = 'request-5'`)
	const keptSQL = `SELECT string_agg(concat_ws(' ', e.signature_request_id, d.differs, d.count, d.payload = $1 AND d.signature = $2, d.source), ', ' ORDER BY e.id)
		FROM lumin.redeliveries d JOIN lumin.events e ON e.id = d.event_id`
	storetest.Register(t, storetest.On(t, pgtest.Pool(t, address)), "book")
	for _, redeliveries := range []int64{2, 0} {
		result := mustImport(t, to, lines, true)
		if result.Superseded != 3 || result.Imported != 0 || result.Redeliveries != redeliveries {
			t.Errorf("%+v", result)
		}
		got := storetest.Value[string](t, to.Pool(), keptSQL, approved(6).Payload, approved(6).Signature)
		if want := "request-5 unknown 1, request-6 recovered 1 t account"; got != want {
			t.Errorf("redeliveries %q, want %q", got, want)
		}
	}

	to = storetest.New(t) // and without the other source
	recoverAt(t, to, approved(6), 1694664209999)
	mustImport(t, to, lines[2:], false)
	if n := storetest.Value[int](t, to.Pool(), `SELECT sum(count)::int FROM lumin.redeliveries WHERE source = 'app:crm'`); n != 2 {
		t.Errorf("%d deliveries are counted, want 2", n)
	}
}

// A recovered event is not imported beside a program that would not recognize its
// original. Others are.
func TestImportBesideOlderProgram(t *testing.T) {
	t.Parallel()
	from, to := storetest.New(t), storetest.New(t)
	storetest.Record(t, from, approved(5))
	recoverAt(t, from, approved(6), 1694664209999)
	storetest.Exec(t, to.Pool(), `INSERT INTO lumin.programs (id, host, pid, role, job_kinds) VALUES (gen_random_uuid(), 'old', 12, 'all', '{}')`)
	_, err := (&transfer.Importer{Store: to}).Import(t.Context(), strings.NewReader(strings.Join(export(t, from, true), "\n")))
	if !errors.Is(err, store.ErrOlderProgram) || storetest.Count(t, to).Events != 1 {
		t.Errorf("%v, %+v", err, storetest.Count(t, to))
	}
}
