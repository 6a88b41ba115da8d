package accounting_test

import (
	"testing"
	"time"

	"lumin-examples/accounting"
	"lumin-ingest/lumin"
	"lumin-ingest/worker/workertest"
)

// 8.50 × 19 % is 1.615, which rounds to a tax of 1.62. As a float64 the product
// is slightly less and would round to 1.61.
const fees = `INSERT INTO accounting.fees VALUES ('LEASE', 8.50, 0.19, 'EUR'), ('HUGE', 9999999999.99, 0.2, 'EUR')`

func approved(title string) workertest.Event {
	// The last second of the year, by Lumin's clock.
	return workertest.Event{
		Type: lumin.SignatureRequestApproved, Title: title,
		Time: time.Date(2026, time.December, 31, 23, 59, 59, 0, time.UTC),
	}
}

// entries returns the rows of the table as text, so that no amount is rounded.
func entries(t *testing.T, db *workertest.Database) func() []string {
	return func() (rows []string) {
		t.Helper()
		err := db.Pool.QueryRow(t.Context(), `
			SELECT array_agg(concat_ws(' ', product, net, tax, gross, currency, booked_on) ORDER BY product)
			FROM accounting.entries`).Scan(&rows)
		if err != nil {
			t.Fatal(err)
		}
		return rows
	}
}

func TestEntry(t *testing.T) {
	t.Parallel()
	for title, want := range map[string]string{
		"[LEASE] Berth 12": "LEASE 8.50 1.62 10.12 EUR 2026-12-31",
		"[HUGE] A harbour": "HUGE 9999999999.99 2000000000.00 11999999999.99 EUR 2026-12-31",
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			db := workertest.NewDatabase(t, accounting.Schema, fees)
			workertest.Twice(t, db, accounting.Entry{}, approved(title), entries(t, db))
			if got := entries(t, db)(); len(got) != 1 || got[0] != want {
				t.Errorf("booked %q, want %q", got, want)
			}
		})
	}
}

// A contract without a fee is not booked. The error gives the reason and
// contains no names.
func TestEntryWithoutFee(t *testing.T) {
	t.Parallel()
	db := workertest.NewDatabase(t, accounting.Schema)
	result := db.Run(t, accounting.Entry{}, approved("[LEASE] Ada Example"))
	workertest.Failed(t, result, "product LEASE has no fee: add it to accounting.fees")
	if result.Attempts != 1 {
		t.Errorf("%d attempts, want 1: retries cannot add a fee", result.Attempts)
	}
	if got := entries(t, db)(); len(got) > 0 {
		t.Errorf("booked %q", got)
	}
}

func TestEntryWithoutProduct(t *testing.T) {
	t.Parallel()
	db := workertest.NewDatabase(t, accounting.Schema, fees)
	workertest.Cancelled(t, db.Run(t, accounting.Entry{}, approved("Ada Example's boat")), "the title names no product")
}
