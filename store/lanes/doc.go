// Package lanes lists lanes and skips the failed run that holds one.
//
// A lane is the runs of one ordered job type for one signature request. They are
// worked one at a time, in the order of their events. The head of a lane is the
// first unfinished run. A head that has failed holds its lane if the job type says
// so.
//
//	waiting, err := lanes.List(ctx, pool, lanes.Filter{Held: true, Limit: 20})
//	skipped, err := lanes.Skip(ctx, pool, waiting[0], "test data", "ann")
//
// This package reads the parked and the failed runs, so its cost follows their
// number and not the size of the tables. It guarantees that Skip dismisses only
// the run that the caller has seen: a second call finds nothing to do.
package lanes
