// Package faults runs the program and its PostgreSQL servers, breaks both on
// purpose, and checks afterwards that no acknowledged delivery was lost, that no
// effect took place twice, and that ordered job types kept the order.
//
// Use it in end-to-end tests. [Run] starts a primary, a standby, two processes
// of a program and some clients. It injects one [Fault] after another and
// returns a [Result] with one [Row] per fault. The clients record their
// requests and answers in a [Ledger], which is independent of the database.
// [Check] compares the two.
//
// Guarantees:
//
//   - Repeatable. One seed decides the faults, their order, their lengths and
//     their targets. It does not decide how the machine schedules the
//     processes.
//   - Private. It signals only processes that it has started, and connects only
//     to servers of package pgdev on 127.0.0.1.
//   - Two kinds of checks. [Check] compares the tables at the end with the
//     ledger. Package history checks that one order of operations explains
//     everything that was seen of an event during the run.
//   - Checks that can fail. [Falsify] damages the checked database in
//     transactions that it rolls back. It returns an error unless each damage
//     is noticed. Histories are damaged in the same way. [Catch] runs programs
//     that are broken on purpose until the checks notice.
//
// [Scenarios] returns the rows of the fault plan. Each is a run with its own
// faults, sizes, figures and bounds. Command chaos runs them.
//
// An example. The program at path must have the job types that [EffectKind],
// [BatchKind], [OrderedKind] and [CallKind] describe:
//
//	result, err := faults.Run(ctx, faults.Config{
//		Program: []string{path, "serve"}, Seed: 1, Length: time.Minute, Rate: 100,
//		Faults: faults.All(), Standby: true, Folder: folder,
//	})
//	if err == nil {
//		err = result.Err()
//	}
package faults
