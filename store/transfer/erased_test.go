package transfer_test

import (
	"context"
	"strings"
	"testing"

	"lumin-ingest/store/erasure"
	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/transfer"
)

// An unrecognized event has no signature request. If its body can be decoded by now,
// the erasure of its signature request counts.
func TestImportErasedUnrecognized(t *testing.T) {
	t.Parallel()
	from, to := storetest.New(t), storetest.New(t)
	storetest.Record(t, from, unrecognized(9), unrecognized(8))
	storetest.Exec(t, to.Pool(), `SELECT lumin.erase('{request-9}', 'a reason')`)
	if result := mustImport(t, to, export(t, from, true), false); result.Imported != 2 || result.Bodiless != 1 {
		t.Errorf("%+v", result)
	}
	const keptSQL = `SELECT count(*) FROM lumin.events WHERE position('request-9' IN convert_from(payload, 'UTF8')) > 0`
	if n := storetest.Value[int](t, to.Pool(), keptSQL); n != 0 {
		t.Errorf("%d erased bodies are stored", n)
	}
}

// An erasure that is ordered and finished after the import has looked for erasures,
// and before it stores an event.
func TestImportDuringErasure(t *testing.T) {
	t.Parallel()
	from, to := storetest.New(t), storetest.New(t)
	storetest.Record(t, from, storetest.Delivery(2))
	storetest.Record(t, to, storetest.Delivery(1))
	lines := export(t, from, true)
	tx := storetest.Begin(t, to)
	storetest.Exec(t, tx, `LOCK TABLE lumin.events IN SHARE MODE`) // reading goes on
	done := make(chan error, 1)
	var result transfer.Result
	go func() {
		var err error
		result, err = (&transfer.Importer{Store: to}).Import(context.WithoutCancel(t.Context()), strings.NewReader(strings.Join(lines, "\n")))
		done <- err
	}()
	storetest.Eventually(t, "the import waits", func() bool {
		return storetest.Value[bool](t, to.Pool(), `SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'lumin.events'::regclass AND NOT granted)`)
	})
	id := storetest.Value[int64](t, to.Pool(), `SELECT lumin.erase('{request-2}', 'a reason')`)
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if order, err := erasure.CarryOut(t.Context(), to.Pool(), id); err != nil || order.FinishedAt == nil {
		t.Fatalf("%+v, %v", order, err)
	}
	if n := storetest.Value[int](t, to.Pool(), `SELECT count(*) FROM lumin.events WHERE signature_request_id = 'request-2' AND payload IS NOT NULL`); n != 0 || result.Bodiless != 1 {
		t.Errorf("%d erased bodies are stored, %+v", n, result)
	}
}
