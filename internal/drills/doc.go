// Command drills is the part of the drills in docs/drills that is not a command
// of PostgreSQL: a program with a job type, a sender of deliveries, and the
// comparison afterwards. The scripts of that folder call it.
//
//	drills program ARGUMENTS    lumin-ingest with a job type that leaves a row for each event
//	drills prepare URL          create that job type's table in a migrated database
//	drills send FLAGS URL       send deliveries until SIGTERM, and write what was acknowledged
//	drills compare FLAGS URL FILE...
//	                            compare a database with what was acknowledged
//
// Guarantees:
//
//   - The record of what was acknowledged is made outside the database.
//   - compare checks the invariants of package faults, and leaves nothing in the
//     database. It exits with 1 if one is violated.
package main
