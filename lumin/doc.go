// Package lumin is Lumin Sign's webhook contract in Go: what a delivery looks
// like, how it is signed, which event it reports, and how long Lumin repeats it.
//
// Use it on either side of the wire: to verify and identify deliveries that
// Lumin sends, or to sign deliveries that a test sends. It knows nothing of
// queues or databases, needs only the standard library, and keeps no state.
//
// What it guarantees:
//
//   - A delivery is accepted only if one of the keys given made its signature
//     over exactly these bytes.
//   - Two deliveries have the same [EventKey] only if they report the same
//     event: same signature request, same time, same type. An ambiguous body
//     has no identity at all rather than a guessed one.
//   - No error text holds anything taken from a body, a header or a secret.
//   - No body can make it recurse or work longer than its length deserves.
//
// Receiving a delivery, body read and limited already:
//
//	match, err := keyring.Verify(body, request.Header)
//	if err != nil {
//		return err // 401: not from Lumin
//	}
//	key := lumin.UnrecognizedKey(body)
//	envelope, err := lumin.DecodeEnvelope(body)
//	if err == nil {
//		key = envelope.Key()
//	}
//	return keep(key, body, match) // authentic, so never thrown away
package lumin
