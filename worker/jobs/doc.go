// Package jobs holds the job types that the program brings along.
//
// Register them beside your own where you want what they keep:
//
//	registry := worker.NewRegistry()
//	registry.AddTx(jobs.SignatureRequestState{})
//
// and then ask the database:
//
//	SELECT status, title, expires_at FROM lumin.signature_requests
//	WHERE signature_request_id = 'fa5c8a0b0f492d768749333ad6fcc214c111e967';
//
// [Forward] posts events to other systems, [ArchiveContract] keeps the signed files in
// a bucket, and [Reconcile] asks Lumin for what deliveries have not told; each says
// by itself what it guarantees.
//
// [SignatureRequestState] guarantees that the row of a signature request depends
// on which events have been worked, and not on the order in which they came, on
// repetitions, or on how many workers there are:
//
//   - Each field follows the newest event that tells it, by Lumin's event_time;
//     a field that no event tells is NULL.
//   - Of events in the same millisecond the later one is, in this order: created,
//     one that is not documented, viewed, signed, due date updated, cancel failed,
//     approved, declined, invalid, canceled, downloadable.
//   - A terminal status (APPROVED, REJECTED, FAILED, CANCELLED) gives way only to
//     that of a newer event, and only to another terminal one.
//   - An event whose body tells no status implies one if it ends the request:
//     declined REJECTED, canceled CANCELLED, invalid FAILED, approved APPROVED.
//   - No body makes it fail. A status that is empty or longer than 255 bytes counts
//     as not told.
package jobs
