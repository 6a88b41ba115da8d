// Package failures lists failures: the runs that failed, are retrying or were
// dismissed, grouped by job type and error, and the follow-up jobs that failed.
//
//	groups, err := failures.Failed().Quickly(ctx, pool, nil, nil, 20) // the biggest first
//
// Use package replay to replay or dismiss the runs of a group. This package
// guarantees short lists: runs with the same error are one group, whatever their
// number. [List.Quickly] takes the same time for any number of runs, and says so
// if its numbers are estimates.
package failures
