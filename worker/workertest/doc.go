// Package workertest tries a job type on an event, in a test, as the program
// would: on a real PostgreSQL, through the real [worker.Runtime].
//
//	func TestBookRevenue(t *testing.T) {
//		db := workertest.NewDatabase(t, `CREATE TABLE public.revenue (event_key uuid PRIMARY KEY)`)
//		approved := workertest.Event{Type: lumin.SignatureRequestApproved}
//		result := db.Run(t, BookRevenue{}, approved)
//		workertest.Succeeded(t, result)
//	}
//
// [NewDatabase] makes a private, migrated database, [Event] is a delivery in the
// documented shape, and [Database.Run] records it and works it until its run is
// settled. [Twice] is the test that every job type should have: it takes an event
// through all that may repeat, and makes sure that there is one effect. Job types
// that call another system find one in [NewOutside].
//
// What it guarantees:
//
//   - The job type runs as it does in production: in the same transaction, with
//     the same claims, retries, limits and timeouts, and its errors are stored in
//     the same way. Only the waiting between attempts is left out.
//   - Tests may be parallel, as far as each has a Database of its own.
//   - Events are the same in every run of a test, and the people in them made up.
//   - A call that makes no sense ends the test with a sentence that says why.
//
// It needs the programs of a PostgreSQL server, as the project's own tests do, or
// else TEST_DATABASE_URL: a superuser's URL of a server that may be littered. The
// database of a failed test is kept, and its URL printed.
package workertest
