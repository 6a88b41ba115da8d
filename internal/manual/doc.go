// Package manual holds the tests that compare the documents with the program:
// the README and the pages in docs, the Dockerfile, the compose files and the
// starter. It has no other code.
//
// Pages state facts that code decides: settings, commands, answers, metrics,
// defaults. A page that no longer agrees with the code fails a test here. Two
// pages are written from the program's own help, between marks:
//
//	go test ./internal/manual -run Generated -update
package manual
