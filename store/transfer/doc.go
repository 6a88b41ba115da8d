// Package transfer imports events into a database, from the lines that
// "events list --output json --payload" has written in another one.
//
//	i := transfer.Importer{Store: st, Runs: false}
//	result, err := i.Import(ctx, file)
//
// Each event keeps its event key, source, time of receipt, signature and
// redeliveries, so job types get the same idempotency keys. An event gets another id;
// relations between events are found again by event key and source, whichever of two
// related events comes first.
//
// It guarantees that a line is checked before anything of it is stored, that an
// event and all that belongs to it are stored in one transaction, and that nothing
// changes for an event that is stored already. So an import can be repeated, and goes
// on where it was interrupted. Memory does not grow with the number of lines.
package transfer
