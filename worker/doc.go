// Package worker runs job types: what is to happen when Lumin Sign reports an
// event.
//
// Write a job type for each effect that an event should have, register it, and
// run a [Runtime] beside PostgreSQL. Each stored event that a job type wants
// becomes one run of it, with its own job in River, its own retries and its own
// result in lumin.runs; what one job type does is nothing to the others. An
// effect that is a row in this database wants [Transactional], everything else
// [Plain].
//
// What it guarantees:
//
//   - A transactional job type takes effect exactly once per event, and once more
//     for each replay that asks for it, whatever crashes, repeats or runs at the
//     same time. Its tables must be in the database that holds the events, and
//     it must write to them through the transaction that it is given.
//   - A plain job type works at least once per event. Hand store.Event.IdempotencyKey
//     to the other system: it is the same every time.
//   - A run is never given up silently. It succeeds, or ends as failed or
//     cancelled with a row in lumin.failures that keeps the error of each attempt.
//     Failed runs can be replayed.
//   - Errors and panics stay with their job. Neither they, nor NUL bytes in their
//     texts or in River's metadata, keep the jobs of others from being completed.
//   - Texts of errors and panics are cleaned before they are stored or logged: no
//     NUL, no e-mail address, no URL query, at most 2,000 bytes.
//
// A job type with its registration:
//
//	type BookRevenue struct{ worker.Defaults }
//
//	func (BookRevenue) Kind() string { return "book_revenue" }
//	func (BookRevenue) Events() []lumin.EventType {
//		return []lumin.EventType{lumin.SignatureRequestApproved}
//	}
//	func (BookRevenue) WorkTx(ctx context.Context, tx pgx.Tx, e *store.Event) error {
//		_, err := tx.Exec(ctx, `INSERT INTO shop.revenue (signature_request_id) VALUES ($1)`, e.SignatureRequestID)
//		return err
//	}
//
//	registry.AddTx(BookRevenue{})
//
// # What the code of a job type should know
//
// Return nil when the work is done and an error to have it tried again after
// Backoff. [JobFail] ends the run as failed at once, [river.JobCancel] as cancelled;
// [river.JobSnooze] puts it off without counting an attempt. All of them may be
// wrapped. [Logger] returns a logger for the context that the code gets.
//
// Several attempts, and several events of one signature request, may run at the
// same time and in any order. Lock what you update.
//
// Heed the context. It ends after Timeout, when the job is cancelled, and ten
// seconds after the program began to stop; only the last of these does not count
// as an attempt. Code that ignores it keeps its place among the workers, and
// once Timeout and fifteen seconds are over, River has the job tried again beside
// it. A transactional job type still takes effect once then: five seconds after its
// time the connection is closed under it. A plain one is simply called again.
//
// Leave COMMIT and ROLLBACK to the worker. If code sends them all the same, the
// following holds. The run is marked as succeeded in the same transaction before
// the code is called, so a COMMIT takes the effect and the mark together and no
// further attempt is made. After a ROLLBACK the transaction takes no more
// statements, nothing that was written remains, and the attempt counts as failed,
// even if the code began another transaction. Out of reach is what code commits
// past its transaction, over [pgx.Tx.Conn] or in the same string as a ROLLBACK:
// it is there once per attempt.
//
// Nothing that code leaves in its session reaches another attempt: settings, roles,
// advisory locks, temporary tables, cursors, channels and prepared statements are
// removed at the end of the transaction. The transaction refuses statements once the
// attempt has ended. If code takes the connection itself, with [pgx.Tx.Conn] or
// [pgx.Tx.LargeObjects], the connection is closed after the attempt.
//
// River's RecordOutput and MetadataSet work; what jsonb does not take is left out
// of their values. River's resumable steps do not: they report their errors only
// after the run has been settled.
//
// # Several programs on one database
//
// Each works the kinds that it has registered and leaves the others waiting. But
// one of them, which River elects, tends the jobs of all whose program has died,
// and gives up those whose kind it does not know: their runs are failed, and can
// be replayed. Register all job types in all programs where that matters.
package worker
