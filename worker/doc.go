// Package worker runs job types, which define what happens when Lumin Sign
// reports an event.
//
// Write a job type for each effect that an event should have, and add it to a
// [Registry]. With package app, return the Registry from the function that is
// passed to app.Main. Other programs run a [Runtime] themselves.
//
// Each stored event becomes one run of each job type that subscribes to it. A
// run has its own job in River, its own retries and its own result in
// lumin.runs. Job types do not affect each other. If the effect is a row in the
// same database, write a [Transactional] job type. Otherwise write a [Plain]
// one.
//
// Guarantees:
//
//   - A transactional, batch or ordered job type takes effect exactly once per event, and
//     once more for each replay that asks for it. Crashes, repetitions and
//     concurrency do not change this. Its tables must be in the database that
//     holds the events, and it must write to them through its transaction.
//   - A plain job type works at least once per event. Pass
//     [Event.IdempotencyKey] to the other system: the key is the same every
//     time.
//   - No run is dropped silently. A run succeeds, or it ends as failed or
//     cancelled with a row in lumin.failures that keeps the error of each
//     attempt. Failed runs can be replayed.
//   - Errors and panics affect only their own job. NUL bytes in error texts or
//     in River's metadata do not keep the jobs of others from being completed.
//   - Texts of errors and panics are cleaned before they are stored or logged:
//     no NUL, no e-mail address, no URL query, at most 2,000 bytes.
//
// A job type with its registration:
//
//	type BookRevenue struct{ worker.Defaults }
//
//	func (BookRevenue) Kind() string { return "book_revenue" }
//	func (BookRevenue) Events() []lumin.EventType {
//		return []lumin.EventType{lumin.SignatureRequestApproved}
//	}
//	func (BookRevenue) WorkTx(ctx context.Context, tx pgx.Tx, e *worker.Event) error {
//		_, err := tx.Exec(ctx, `INSERT INTO shop.revenue (signature_request_id) VALUES ($1)`, e.SignatureRequestID)
//		return err
//	}
//
//	registry.AddTx(BookRevenue{})
//
// # Rules for the code of a job type
//
// Return nil when the work is done. Return an error to retry after Backoff,
// until MaxAttempts is reached and the run fails. [JobFail] ends the run as
// failed at once, and [river.JobCancel] ends it as cancelled. [river.JobSnooze]
// postpones it without counting an attempt. All of them may be wrapped.
// [Logger] returns a logger for the context that the code receives.
//
// Several attempts, and several events of one signature request, may run at the
// same time and in any order. Lock the rows that you update. An [Ordered] job
// type works the events of a signature request one at a time and in order.
//
// Respect the context. It ends after Timeout, when the job is cancelled, and
// ten seconds after the program began to stop. An attempt that a stop
// interrupts does not count; the others do. Code that ignores the context keeps
// occupying a worker. Fifteen seconds after its timeout River runs the job
// again beside it. A transactional job type still takes effect once, because
// its connection is closed five seconds after its timeout. A plain one is
// called again.
//
// Leave COMMIT and ROLLBACK to the worker. If the code sends them anyway, the
// following holds:
//
//   - The run is marked as succeeded in the same transaction before the code
//     is called. Therefore a COMMIT commits the effect together with the mark,
//     and no further attempt is made.
//   - After a ROLLBACK, the transaction refuses statements, and nothing that
//     was written remains. The attempt counts as failed, even if the code
//     began another transaction.
//   - The worker cannot control statements that code commits outside its
//     transaction, through [pgx.Tx.Conn] or in the same string as a ROLLBACK.
//     Their effect occurs once per attempt.
//
// A session carries nothing from one attempt to the next. At the end of the
// transaction, settings, roles, advisory locks, temporary tables, cursors,
// channels and prepared statements are removed. The transaction refuses
// statements once the attempt has ended. If code takes the connection itself,
// with [pgx.Tx.Conn] or [pgx.Tx.LargeObjects], the connection is closed after
// the attempt.
//
// River's RecordOutput and MetadataSet work. A value that jsonb does not accept
// is changed, or replaced by a text with the reason. River's resumable steps do
// not work: they report their errors only after the run is settled.
//
// # Several programs on one database
//
// Each program runs the jobs of the kinds that it has registered. Jobs of other
// kinds wait.
//
// Each program holds a lock in the database while it runs. If the lock is free for
// five seconds, the program was killed, and another one makes its running jobs
// available again. The attempts do not count. A job is given back three times at
// most. After that, and for a program without a lock, River's rescue takes over:
// River elects one of the programs, which rescues jobs that have been running for
// longer than their timeout, and counts the attempt. That program fails the runs
// whose kind it does not know. They can be replayed. If this matters, register all
// job types in all programs.
//
// # How an attempt proceeds
//
// Read the files in this order. runtime.go starts River, and attempt.go
// surrounds each attempt. execute.go calls the job type, between claim.go and
// commit.go. outcome.go decides how the attempt ended. For a batch job type,
// coalesce.go gathers attempts and work_batch.go calls it. For an ordered one,
// work_ordered.go works its event and those that wait for it. owner.go gives back
// the jobs of programs that were killed.
package worker
