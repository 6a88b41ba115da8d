// Package lookup asks Lumin's API about many signature requests, one after the
// other. Reconcile and recover share it, so that both keep to one rate and end
// for the same reasons.
//
//	pass := lookup.New(client, pool, lookup.DefaultRate)
//	answer, err := pass.Ask(ctx, id)
//	if errors.Is(err, lookup.ErrSkip) {
//		continue // this one failed, and is counted
//	}
//
// It guarantees:
//
//   - Requests keep to the rate. If Lumin asks to wait (429, or 503 with
//     Retry-After), the pass waits. It ends with a [RetryError] if that takes longer
//     than ten minutes or than its context lasts.
//   - The failure of one signature request does not end the pass. A key that works
//     for no signature request, an API that does not answer, and several failures in
//     a row do.
//   - "Lumin does not know it" counts as an answer only together with proof that
//     the key and the address are right: see [Pass.Confirm].
package lookup
