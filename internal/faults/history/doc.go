// Package history checks the history of an event: what clients, job types and
// readers of the database have seen of it.
//
// Use it to check what happened during a run, which the rows at its end no longer
// show. A [History] contains the operations on one event. Each has a time before
// which it cannot have happened, and a time by which it had. [History.Explained]
// searches for an order that agrees with these times and in which each operation
// is possible. Without such an order, something was lost, doubled or done too
// early.
//
// The literature calls this linearizability. The library porcupine performs the
// search. An [Operation] follows these rules:
//
//   - A delivery answered 200 stores the event under the id of the answer. One
//     without a 200 may store it, at any time after it was sent.
//   - A look sees the ids and the effects that exist at that moment, and no others.
//   - A claim needs a stored event. The number of its repetition is at most the
//     number of orders to repeat, and all earlier repetitions have had their
//     effects.
//   - An effect follows its claim, and the event has only one such claim.
//
// All times must come from one clock.
//
//	ok, err := history.History{
//		{Action: history.Deliver, ID: 7, Began: sent, Ended: answered},
//		{Action: history.Look, Seen: history.View{IDs: [2]int64{7}}, Began: asked, Ended: told},
//	}.Explained(time.Second)
package history
