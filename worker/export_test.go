package worker

import "time"

// Quick makes a Runtime of this Config look for jobs more often, and gives
// running ones less time when it stops.
func (c Config) Quick(softStop time.Duration) Config {
	c.softStop, c.pollInterval = softStop, 20*time.Millisecond
	return c
}

// Rows is what a Registry writes into lumin.job_types.
func (r *Registry) Rows() any { return r.rows() }

// InternalQueue is the queue of the program's own jobs.
const InternalQueue = internalQueue
