// Package alerts finds out what needs a person, and keeps track of what was sent
// about it.
//
//	examiner := alerts.New(pool, alerts.Limits{})
//	findings := examiner.Examine(ctx)        // what holds at this moment
//	err := alerts.Store(ctx, pool, findings) // remembered by all programs
//	open, err := alerts.List(ctx, pool)
//
// Package internal/alerting sends. This package guarantees that one program at a
// time examines and sends ([Hold], [Send]), that its statements take about as long
// in a database with ten million events as in an empty one (only thousands of failed
// runs cost more), and that an alert holds no personal data: job types, fingerprints,
// cleaned errors, ids.
//
// An alert is resolved when it is known to be over. A condition that could not be
// examined, or not entirely, leaves alerts as they are.
package alerts
