// Package lanes lists lanes and skips the failed run that holds one.
//
// A lane is the runs of one ordered job type for one signature request. They are
// worked one at a time, in the order of their events. The head of a lane is the
// first unfinished run. A failed run holds its lane, if that is the policy of the
// job type.
//
//	waiting, err := lanes.List(ctx, pool, lanes.Filter{Held: true, Limit: 20})
//	skipped, err := lanes.Skip(ctx, pool, waiting[0], "test data", "ann")
//
// The cost of each function follows the number of parked and failed runs, and not
// the size of the tables. Skip dismisses only the run that the caller has seen, so
// a second call finds nothing to do.
package lanes
