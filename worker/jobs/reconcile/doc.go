// Package reconcile compares lumin.signature_requests, which the job type
// signature_request_state keeps, with Lumin's API. It finds changes that were
// missed during an outage longer than Lumin retries its deliveries.
//
// Programs that start with app.Main do this periodically if RECONCILE_EVERY is
// set, and once with the command reconcile. Import this package to do it in Go:
//
//	r := &reconcile.Reconciler{Store: st, Lumin: env.Lumin}
//	registry.AddPeriodic(r.Periodic(24*time.Hour, env.Logger))
//
// A pass requests every signature request that is not finished. Lumin's API
// cannot list signature requests, so a signature request without any received
// event is not found.
//
// Lumin's values are stored only if Repair is set, and never over a value from
// a newer event. A pass may be stopped at any time: the rows record which
// signature requests were checked, so the next pass continues.
package reconcile
