// Command bench is the project's benchmark. It measures the real program
// against references, on private PostgreSQL servers that wait for their disk.
//
//	go run ./internal/bench -scenario p2,p3 -rounds 3 -seconds 8 -out /tmp/bench
//	go run ./internal/bench -quick
//
// It builds the program and runs it as a process of its own, like every other
// contestant:
//
//   - ours: the program of this checkout, with its default settings, or with
//     others (-variant)
//   - before: the program of an older commit (-before), built from the
//     repository
//   - textbook: one transaction per event and job; see package textbook
//   - pgbench: PostgreSQL's own benchmark, inserting an event and a job
//   - express: Express with pg-boss, if Node and a package registry are there
//
// The contestants take turns within each round. Each turn has a new database,
// copied from a template, and starts after a checkpoint. Load comes from a
// process of its own (package load), over HTTP and with valid signatures. For P1
// and P2 it comes from callers in the measured process instead: the Recorder
// alone (command recorder), on both commits, against the textbook's
// transaction.
//
// Figures per event are differences of counters: CPU time from /proc, for the
// program and for all processes of PostgreSQL; bytes of the write-ahead log.
// Round trips are counted in an extra round through a proxy (package wire),
// whose other figures are dropped.
//
// Every turn also checks what it has done: as many events as deliveries
// answered 200, as many runs, and as many effects. A difference ends the
// benchmark with an error. -quick is for CI: it makes short turns for these
// checks, and compares no times.
//
// The benchmark needs Linux, because it reads /proc.
package main
