// Package conflict lists the bodies that arrived with the event key of a stored
// event and different content. It stores what a person decides about them.
//
//	conflicts, err := conflict.List(ctx, pool, conflict.Filter{Undecided: true, Limit: 20})
//	id, err := conflict.Promote(ctx, pool, conflicts[0], "two signers", "ann")
//
// Package store finds and stores conflicts while it records deliveries. This
// package guarantees that a conflict has at most one decision. A promoted conflict
// is a single event with its own runs, even if several people promote it at once.
package conflict
