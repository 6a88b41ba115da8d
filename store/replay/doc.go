// Package replay acts on stored runs that a person chooses with a [Filter]. It
// replays them, dismisses failed ones, and restores dismissed ones.
//
// Use it in commands and in the worker's job that carries out orders:
//
//	replays := replay.New(st)
//	filter := replay.Filter{Status: replay.Failed, Kinds: []string{"book"}}
//	plan, err := replays.Quick().Plan(ctx, filter) // may be an estimate
//	filter.AsOf = &plan.AsOf                       // take nothing that fails meanwhile
//	id, err := replays.Place(ctx, replay.NewOrder{Filter: filter, Reason: "fixed"})
//
//	order, err := replays.Start(ctx, id) // in a worker
//	for page := (replay.Page{}); !page.Exhausted; {
//		page, err = replays.TakePage(ctx, order, jobs, page.Next, 0)
//	}
//	finished, err := replays.Finish(ctx, id) // true once every run has settled
//
// The files follow an order: filter.go, plan.go, order.go, carry_out.go, page.go
// with one file for each kind of page, and cancel.go. The SQL of a statement
// depends on its filter, so testdata shows each complete statement.
//
// What it guarantees:
//
//   - A change covers what its plan has counted: nothing that happened after its
//     Filter.AsOf. So an order ends although runs keep settling and events keep
//     coming.
//   - An order enqueues each run at most once, even if several workers carry it
//     out and are stopped at any time.
//   - An order is done only when all matching runs are enqueued, except runs of
//     job types that no running program knows, and runs that a later order had begun
//     before it was cancelled. A note in the order says so.
//   - A run and its job become pending in the same transaction.
//   - After a cancel no further run becomes pending, and each run whose job has
//     not started gets its former state back, so that an older order takes it.
//     Retrying runs keep their attempt, and decoded events are kept.
//   - No run is replayed without the body of its event.
package replay
