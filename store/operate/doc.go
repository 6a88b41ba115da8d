// Package operate makes every change that a person can order, and keeps the audit
// log, lumin.audit_log: who changed what, from where and why.
//
// Use it in everything that acts for a person: the dashboard, the API and the
// commands. Changes that the program makes automatically, such as retries and
// retention, are not in the log.
//
//	operator := operate.New(st)
//	by := operate.Actor{Name: "ann", From: "10.0.0.7", Via: operate.Dashboard}
//	id, err := operator.Replay(ctx, by, replay.NewOrder{Filter: filter, Reason: "the bug is fixed"})
//	page, err := operator.List(ctx, operate.Filter{Limit: 50})
//
// What it guarantees:
//
//   - The row is committed before the change begins. Without the row there is no
//     change.
//   - The outcome is stored in the row afterwards. A row without an outcome belongs
//     to a change that is in progress, or whose program ended before it could store
//     the outcome.
//   - Rows hold filters, ids and numbers. E-mail addresses are removed from reasons
//     and errors.
package operate
