// Package river serves River UI, the web page of the queue, below /river.
//
// Use it behind the guard of the dashboard:
//
//	ui, err := river.New(river.Config{Pool: pool, Operator: operator, Logger: logger})
//	ui.Register(e.Group(river.Prefix, guard.Protect, access.Changes()))
//
// River UI shows jobs, and our runs follow their jobs: a cancelled job cancels its
// run, and a retried job makes its failed or cancelled run pending again. Triggers do
// that; see the migrations.
//
// What it guarantees:
//
//   - A path that could mean another one is refused: with dots, empty segments or
//     escapes.
//   - Each change has a row in the audit log, with the ids of its jobs.
//   - Jobs are not deleted, because a run without its job would wait for the sweep,
//     which makes the job again. The queues of the program's own jobs are not paused.
//   - Arguments and metadata of jobs, which may hold personal data, are shown only to
//     callers with the role operate.
//   - Each page has a link to the dashboard, and that of a job one to its event.
//   - Nothing runs in the background. Counts are bounded and made for a request.
package river
