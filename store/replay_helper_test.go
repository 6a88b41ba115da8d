package store_test

import (
	"testing"

	"lumin-ingest/store"
	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/replay"
)

// fail records deliveries and makes all their jobs fail for good.
func fail(tb testing.TB, s *store.Store, deliveries ...store.Delivery) []store.Receipt {
	tb.Helper()
	receipts := recordAll(tb, s, deliveries...)
	storetest.FailAll(tb, s)
	return receipts
}

// allPages carries out an order in small pages.
func allPages(tb testing.TB, s *store.Store, order replay.Order, jobs replay.Jobs) (runs int) {
	tb.Helper()
	return storetest.CarryOut(tb, s, order, jobs, 2)
}
