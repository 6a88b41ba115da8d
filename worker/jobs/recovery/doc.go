// Package recovery records the events that Lumin has given up delivering. After
// an outage longer than Lumin's retries, the state of a signature request at
// Lumin shows what must have happened, but no event says so. Recovery asks
// Lumin's API, and records an event for each happening that is certain from the
// answer and that no source has reported. The job types then run as usual.
//
// Programs that start with app.Main do this periodically if RECOVER_EVERY is
// set, and once with the command recover. Import this package to do it in Go:
//
//	r := &recovery.Recoverer{Store: st, Lumin: env.Lumin, By: by}
//	registry.AddPeriodic(r.Periodic(24*time.Hour, env.Logger))
//
// It guarantees:
//
//   - Only what is certain is recorded: approved, declined, canceled and invalid
//     by the status, and downloadable once the file can be had.
//   - Nothing is recorded that any source has reported, however often and from
//     however many programs it is called. If the original arrives later, it is a
//     redelivery of the recovered event.
//   - Nothing is recorded while Lumin may still deliver it, unless Now is set.
//   - Erased signature requests are left alone. So is what is older than retention
//     keeps events: its event may have been stored, worked and removed.
//   - A pass may be stopped at any time. The next one records what is left.
package recovery
