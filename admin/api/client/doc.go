// Package client reaches the window of an operator through the API of a running
// program.
//
// Its methods are those of package window, with the same results and errors:
// errors.Is works with the errors of the rooms in store. So a command needs not
// know whether it works on a database or on a server.
//
// An order is sent with an Idempotency-Key, and repeated if its answer was lost.
// It is carried out once.
//
//	c, err := client.New(client.Config{Server: "https://ingest.example.com", Token: token})
//	event, err := c.Event(ctx, 4711)
package client
