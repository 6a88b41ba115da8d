package main

import (
	"testing"
	"time"

	"lumin-ingest/lumin"
	"lumin-ingest/worker/workertest"
)

func TestBookRevenue(t *testing.T) {
	t.Parallel()
	db := workertest.NewDatabase(t, revenueSQL)
	approved := workertest.Event{
		Type:  lumin.SignatureRequestApproved,
		Title: "Lease of a boat",
		Time:  time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC),
	}
	workertest.Succeeded(t, db.Run(t, BookRevenue{}, approved))
	var title string
	var bookedAt time.Time
	if err := db.Pool.QueryRow(t.Context(), `SELECT title, booked_at FROM public.revenue`).Scan(&title, &bookedAt); err != nil {
		t.Fatal(err)
	}
	if title != approved.Title || !bookedAt.Equal(approved.Time) {
		t.Errorf("booked %q at %s", title, bookedAt)
	}
}

// The table has one row, no matter how often the event arrives.
func TestBookRevenueOnce(t *testing.T) {
	t.Parallel()
	db := workertest.NewDatabase(t, revenueSQL)
	workertest.Twice(t, db, BookRevenue{}, workertest.Event{Type: lumin.SignatureRequestApproved}, func() (rows int) {
		if err := db.Pool.QueryRow(t.Context(), `SELECT count(*) FROM public.revenue`).Scan(&rows); err != nil {
			t.Fatal(err)
		}
		return rows
	})
}

func TestBookRevenueWithoutTable(t *testing.T) {
	t.Parallel()
	result := workertest.NewDatabase(t).Run(t, BookRevenue{}, workertest.Event{})
	workertest.Failed(t, result, `relation "public.revenue" does not exist`)
}
