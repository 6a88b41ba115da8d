// Package window is what an operator sees of one database, and what an operator
// can change in it.
//
// Each method answers one question or makes one change, from the rooms in store.
// The API serves a Window over HTTP, package client reaches one through the API,
// and commands use either. So an operation has the same input and the same
// result everywhere.
//
//	w := window.New(st)
//	for event, err := range w.Events(ctx, store.EventFilter{Source: "account"}) {
//		...
//	}
package window
