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
// in a database with ten million events as in an empty one, and that an alert holds
// no personal data: job types, fingerprints, cleaned errors, ids.
//
// A condition that could not be examined, or not entirely, neither raises nor
// resolves an alert.
package alerts
