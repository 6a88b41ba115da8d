// Package transfer imports events into a database, from the lines that
// "events list --output json --payload --oldest-first" has exported from another one.
//
//	i := transfer.Importer{Store: st, Runs: false}
//	result, err := i.Import(ctx, file)
//
// Each event keeps its event key, source, time of receipt, signature and
// redeliveries, so job types get the same idempotency keys. Each event gets a new id.
// Relations between events are found again by event key and source, in whatever order
// the events are imported. Runs are created with their events: only lines with the
// oldest first keep the order of ordered job types.
//
// It guarantees:
//
//   - A line is checked before anything of it is stored.
//   - An event and all that belongs to it are stored in one transaction.
//   - Nothing changes for an event that is stored already. So an import that was
//     interrupted can be repeated.
//   - Memory does not grow with the number of lines.
package transfer
