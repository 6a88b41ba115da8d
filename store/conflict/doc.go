// Package conflict lists the bodies that arrived with the event key of a stored event
// and another content, and stores what a person decides about them.
//
//	conflicts, err := conflict.List(ctx, pool, conflict.Filter{Undecided: true, Limit: 20})
//	id, err := conflict.Promote(ctx, pool, conflicts[0], "two signers", "ann")
//
// Recording finds conflicts and stores them: see package store. What this package
// guarantees: a conflict has at most one decision, and a promoted one is a single
// event with runs of its own, however often and by whomever it is promoted.
package conflict
