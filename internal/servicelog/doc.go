// Package servicelog keeps a service independent of the readers of its log.
//
// Use it for a process that must keep working if nothing reads its standard
// error, or if one cause makes thousands of requests fail.
//
// Guarantees:
//
//   - Writing to a [Queue] never blocks and never fails. A line that does not
//     fit is dropped and counted, and the next line that gets through says how
//     many.
//   - Closing a Queue takes no longer than the caller allows.
//   - A [Collapse] handler writes the first failure of each cause at once, and
//     one line with a count per interval for the repetitions. Its memory is
//     bounded, whatever is logged.
//
// Dropped lines and repetitions are counted, so no failure disappears without a
// trace.
//
//	queue := servicelog.NewQueue(servicelog.OwnStream(os.Stderr))
//	defer queue.Close(500 * time.Millisecond)
//	failures := servicelog.NewCollapse(slog.NewJSONHandler(queue, nil), 10*time.Second)
//	defer failures.Close()
//	logger := slog.New(failures)
package servicelog
