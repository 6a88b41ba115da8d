// Package retention removes events, and the bodies of events, once they are old
// enough. Erasure, which removes one person's data on request, is package
// erasure.
//
// Call [Run] to remove everything that is too old now, as the command retention
// does. Use a [Pass] to work in short slices beside other work, as a running
// worker does:
//
//	policy := retention.Policy{Payloads: 90 * 24 * time.Hour, Events: 400 * 24 * time.Hour}
//	plan, err := retention.Plan(ctx, pool, policy, now) // changes nothing
//
//	pass := retention.NewPass(policy, now)
//	for !pass.Finished() {
//		removed, err := pass.Continue(ctx, pool, 10*time.Second)
//		if err != nil {
//			return err // the same pass can continue later
//		}
//		logger.Info("retention", "events", removed.Events)
//	}
//
// A pass reads old events page by page. The file decide.go holds the decision
// which of them may go, remove.go the removal, orphans.go the rows that have
// lost their event.
//
// What it guarantees:
//
//   - An event that a pending or failed run needs is kept, and so is its body.
//   - All rows of an event key are removed in one transaction, or none. An
//     event key stays as long as any source has a younger event of that key.
//   - It never waits for a row lock. Rows that others have locked stay until
//     the next pass, so retention is part of no deadlock.
//   - It can be stopped at any time and can run several times at once.
package retention
