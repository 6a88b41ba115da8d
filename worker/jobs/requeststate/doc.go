// Package requeststate contains the built-in job type
// signature_request_state. It keeps the table lumin.signature_requests: one row
// with the latest known state of each signature request.
//
//	SELECT status, title, expires_at FROM lumin.signature_requests
//	WHERE signature_request_id = 'fa5c8a0b0f492d768749333ad6fcc214c111e967';
//
// Programs that start with app.Main have this job type unless
// SIGNATURE_REQUEST_STATE is false. Import this package to register it in a
// program without app.Main, or in a test. It works events in batches: see
// [worker.Batch].
//
// The row of a signature request depends only on which events were processed.
// Their order, repetitions and the number of workers make no difference:
//
//   - Each field has the value from the newest event that reports it, by
//     Lumin's event_time. A field that no event reports is NULL.
//   - Events in the same millisecond are ordered, oldest first: created, any
//     undocumented type, viewed, signed, due date updated, cancel failed,
//     approved, declined, invalid, canceled, downloadable.
//   - A terminal status (APPROVED, REJECTED, FAILED, CANCELLED) is replaced
//     only by another terminal status from a newer event.
//   - An event that ends the request implies a status if its body has none:
//     declined REJECTED, canceled CANCELLED, invalid FAILED, approved APPROVED.
//   - No body makes the job fail. A status that is empty or longer than 255
//     bytes is ignored.
package requeststate
