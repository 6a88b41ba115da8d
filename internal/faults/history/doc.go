// Package history checks the histories of events: what clients, job types and
// onlookers have seen of them.
//
// Use it when the order of rows in a database is not to be trusted. A [History]
// holds the operations on one event, each with a time before which it had not
// happened and one after which it had. [History.Explained] searches for one
// order of them that obeys these times and in which each operation is possible.
// Without such an order, something was lost, doubled or done too early.
//
// It is linearizability, as in the literature. The search is that of porcupine.
// The model of an event is [Operation] and its few rules:
//
//   - A delivery answered 200 stores the event under the id of the answer. One
//     without a 200 may store it, at any time after it was sent.
//   - A look sees the ids and the effects of that moment, and nothing else.
//   - A claim needs a stored event, as many orders to repeat as its repetition
//     says, and the effects of the earlier repetitions.
//   - An effect follows its claim, which must be the only one.
//
// All times must come from one clock. A server on another machine would need
// its clock compared first.
//
//	ok, err := history.History{
//		{Action: history.Deliver, ID: 7, Began: sent, Ended: answered},
//		{Action: history.Look, Seen: history.View{IDs: [2]int64{7}}, Began: asked, Ended: told},
//	}.Explained(time.Second)
package history
