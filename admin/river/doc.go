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
//   - Each change has a row in the audit log, with the ids of its jobs. River's handler
//     gets these ids and no others.
//   - Jobs are not deleted, because a run without its job would wait for the sweep,
//     which makes the job again. The queues of the program's own jobs are not paused.
//   - Arguments and metadata of jobs may hold personal data, so no caller sees them here,
//     but for arguments that hold ids only. A page of the dashboard shows them to callers
//     with the role operate, with a row in the audit log.
//   - Each page has a link to the dashboard, and that of a job one to its event, or to
//     that page.
//   - Nothing runs in the background. Each list and count is made for a request. Not all
//     of them are bounded, so the pool and its timeout have to bound them.
package river
