// Package lumin implements Lumin Sign's webhook contract: the format of a
// delivery, its signature, the event it reports, and Lumin's retry schedule. It
// also has a [Client] for Lumin's API.
//
// Use it to verify and identify deliveries from Lumin, or to sign deliveries in
// a test. It does not depend on queues or databases, uses only the standard
// library, and keeps no state.
//
// Guarantees:
//
//   - A delivery is accepted only if one of the given keys signed exactly these
//     bytes.
//   - Two deliveries have the same [EventKey] only if they report the same
//     event: same signature request, same time, same type. An ambiguous body
//     gets no identity rather than a guessed one.
//   - No error text contains anything from a body, a header or a secret.
//   - Parsing a body never recurses, and takes time proportional to its length.
//
// To receive a delivery, read its body with a size limit first, then:
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
//	return keep(key, body, match) // authentic, so never dropped
package lumin
