// Package workertest tests a job type with an event, as the program would run
// it: on a real PostgreSQL, through the real [worker.Runtime].
//
//	func TestBookRevenue(t *testing.T) {
//		db := workertest.NewDatabase(t, `CREATE TABLE public.revenue (event_key uuid PRIMARY KEY)`)
//		approved := workertest.Event{Type: lumin.SignatureRequestApproved}
//		result := db.Run(t, BookRevenue{}, approved)
//		workertest.Succeeded(t, result)
//	}
//
// [NewDatabase] makes a private, migrated database. [Event] is a delivery in
// the documented shape. [Database.Run] records an event and processes it until
// its run is settled. [Twice] is the test that every job type should have: it
// repeats an event in every way that can happen in production, and checks that
// the effect occurs only once. [NewOutside] starts a fake for job types that
// call another system.
//
// Guarantees:
//
//   - The job type runs as in production: in the same transaction, with the
//     same claims, retries, limits and timeouts. Its errors are stored in the
//     same way. Only the waiting between attempts is skipped.
//   - Tests may be parallel if each has its own Database.
//   - Events are the same in every run of a test. The people in them are
//     fictitious.
//   - An invalid call ends the test with a message that explains why.
//
// The tests need the programs of a PostgreSQL server, or TEST_DATABASE_URL: the
// URL of a superuser on a server where tests may leave databases and roles
// behind. The database of a failed test is kept, and its URL is printed.
package workertest
