// Package forward contains the built-in job type forward. It posts events to
// other systems.
//
// Programs that start with app.Main have it for each target in FORWARD_URLS.
// Import this package to configure targets in Go: see [New].
//
// The job type sends the bytes that Lumin signed, unchanged, at least once per
// event and in no particular order. It never fetches a URL from a body.
//
// Each request is signed per Standard Webhooks, with webhook-id,
// webhook-timestamp and webhook-signature. The webhook-id is
// [worker.Event.IdempotencyKey]: it is the same for every attempt and differs
// between targets. X-Signature is Lumin's own signature of the bytes, in
// lower-case hexadecimal. A recovered event was not signed by Lumin: it has no
// X-Signature, and X-Lumin-Source is recovered.
//
// It connects only to public addresses, or only to the networks that [Target]
// allows. It checks the resolved address, and never uses a proxy.
//
// Each target has its own kind and its own queue, both named forward_NAME, so
// that a slow target does not delay others.
//
// # Outcome of a run
//
// The target's response decides it:
//
//   - 2xx: the run succeeds. The body is ignored.
//   - 410: the run is cancelled.
//   - 429 and 503: the job is snoozed, which uses no attempt. It waits for
//     Retry-After, from a second to an hour, or for a minute without that
//     header. A day after the event was received, these statuses count like
//     5xx.
//   - 408, 425, 5xx, a redirect (never followed), or no response within 30
//     seconds: the job is retried after Backoff.
//   - Any other 4xx: the run fails immediately and can be replayed.
package forward
