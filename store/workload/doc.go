// Package workload counts the work of each job type and each queue: what waits,
// runs, is retried and has failed.
//
// Use it for pictures of the present. What happened before is in package history.
//
//	types, err := workload.JobTypes(ctx, pool)
//	queues, err := workload.Queues(ctx, pool)
//
// The numbers are exact. The statements read the runs and jobs that are not
// finished, and the failed ones, each by an index. So their duration grows with the
// number of those, and not with the size of the tables. With a large backlog, call
// them in the background.
package workload
