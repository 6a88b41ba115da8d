// Package jobs contains the built-in job types.
//
// Register the ones that you need beside your own:
//
//	registry := worker.NewRegistry()
//	registry.AddTx(jobs.SignatureRequestState{})
//
// Then query the tables that they keep:
//
//	SELECT status, title, expires_at FROM lumin.signature_requests
//	WHERE signature_request_id = 'fa5c8a0b0f492d768749333ad6fcc214c111e967';
//
// [Forward] posts events to other systems. [ArchiveContract] stores the signed
// files in a bucket. [Reconcile] queries Lumin's API for changes that no
// delivery reported. The documentation of each lists its guarantees.
//
// [SignatureRequestState] guarantees that the row of a signature request
// depends only on which events were processed. Their order, repetitions and the
// number of workers make no difference:
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
package jobs
