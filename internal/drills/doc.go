// Command drills has what the scripts in docs/drills need besides the commands of
// PostgreSQL: a program with a job type, a sender of deliveries, and the
// comparison at the end. Run the scripts; they call this command.
//
//	drills program ARGUMENTS    run lumin-ingest with a job type that inserts a row for each event
//	drills prepare URL          create that job type's table in a migrated database
//	drills send FLAGS URL       send deliveries until SIGTERM, and write what was acknowledged
//	drills compare FLAGS URL FILE...
//	                            compare a database with what was acknowledged
//
// Guarantees:
//
//   - What was acknowledged is recorded in files, not in the database.
//   - compare checks the invariants of package faults, and leaves nothing in the
//     database. It exits with 1 if an invariant is violated.
package main
