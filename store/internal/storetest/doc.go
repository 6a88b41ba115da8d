// Package storetest holds what the tests of the packages in the folder store
// share: a Store on its own database, deliveries, and short ways to read and
// change the database. It is for tests only.
//
//	st := storetest.New(t)
//	d := storetest.Delivery(1, "book") // always the same event for the same number
//	storetest.Record(t, st, d)
//	storetest.WantState(t, st, d, "book", "pending 0")
//	storetest.Exec(t, st.Pool(), `DELETE FROM lumin.events`)
//
// Every function fails the test if the database refuses a statement.
package storetest
