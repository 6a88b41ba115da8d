// Package erasure erases signature requests, or every signature request that
// mentions an e-mail address, from all tables of the schema lumin. Package
// retention removes data that is only too old.
//
// Make a [Plan], order it, and carry the order out:
//
//	plan, err := erasure.NewPlan(ctx, pool, erasure.Subject{Email: "ann@example.com"})
//	if err != nil || plan.Empty() {
//		return err
//	}
//	id, err := plan.Order(ctx, pool, "request of the person", "support")
//	if err != nil {
//		return err
//	}
//	order, err := erasure.CarryOut(ctx, pool, id)
//	if err == nil && order.FinishedAt == nil {
//		// Call CarryOut again later. A running worker does so each minute.
//	}
//
// What it guarantees:
//
//   - An ordered erasure is carried out, even if the program that ordered it
//     crashes. It is finished once all data is erased, including archived files
//     and copies that another source was recording meanwhile.
//   - The identity of an event stays, without its content. If Lumin delivers
//     the event again, it is recognized and counted, but its content is not
//     stored.
//   - It never waits for a lock on events, runs or jobs, so it cannot be part of a
//     deadlock. It skips locked rows and rows of running jobs until the next call.
//   - The e-mail address of a subject is neither stored nor written to errors.
package erasure
