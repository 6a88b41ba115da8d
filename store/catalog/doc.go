// Package catalog holds what programs register in the database when they start:
// themselves, their job types, and their other kinds of jobs. Other programs,
// replays and doctor read it.
//
//	unknown, err := catalog.AddJobTypes(ctx, pool, types)
//	err = catalog.Heartbeat(ctx, pool, program) // repeatedly, while it runs
//	programs, err := catalog.Programs(ctx, pool, catalog.SeenWithin)
//
// It guarantees that a job type does not change between transactional and plain
// while jobs of it are under way. Programs that start together do not block each
// other.
package catalog
