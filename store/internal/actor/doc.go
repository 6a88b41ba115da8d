// Package actor compares the signers that the bodies of events name. Two signers who
// act in the same millisecond give two events with one event key.
//
// Use it where two bodies have the same event key:
//
//	if actor.Differ(first, other) {
//		key = actor.PromotedKey(key, other)
//	}
//
// It guarantees that [PromotedKey] gives the same key in every source and in every
// version of the program, because keys are stored and given to other systems.
package actor
