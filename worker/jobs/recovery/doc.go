// Package recovery records the events that Lumin has given up delivering. After
// an outage longer than Lumin's retries, the state of a signature request at
// Lumin shows what must have happened, but no event says so. Recovery asks
// Lumin's API, and records each event that the answer proves and that no source
// has reported. The job types then run as usual.
//
// Programs that start with app.Main do this periodically if RECOVER_EVERY is
// set, and once with the command recover. Import this package to do it in Go:
//
//	r := &recovery.Recoverer{Store: st, Lumin: env.Lumin, By: by}
//	registry.AddPeriodic(r.Periodic(24*time.Hour, env.Logger))
//
// It guarantees:
//
//   - Only what the answer proves is recorded: approved, declined, canceled and
//     invalid by the status, and downloadable once the file can be downloaded.
//   - Nothing is recorded that any source has reported. This holds for any number
//     of calls, from any number of programs. If the original arrives later, it
//     counts as a redelivery of the recovered event.
//   - Nothing is recorded while Lumin may still deliver it, unless Now is set.
//   - Erased signature requests are left out. So are events older than Retain:
//     they may have been stored, worked and removed.
//   - A pass may be stopped at any time. The next one records what is left.
package recovery
