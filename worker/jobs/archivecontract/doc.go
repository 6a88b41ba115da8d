// Package archivecontract contains the built-in job type archive_contract. It
// stores the files of a signature request in a bucket once Lumin reports that
// they can be downloaded. Each file gets a row in lumin.archived_files.
//
// Programs that start with app.Main have this job type if ARCHIVE_URL is set.
// Import this package to configure it in Go:
//
//	registry.Add(archivecontract.JobType{Lumin: env.Lumin, DB: env.DB, Bucket: bucket, BucketURL: url})
//
// The object key is {signature_request_id}/{file type}-{idempotency key}.pdf.
// The idempotency key is [worker.Event.IdempotencyKey], so every attempt writes
// the same object. A signature request id that is not 1 to 128 letters, digits,
// _ and - is replaced by its SHA-256 in hexadecimal. If the bucket is a
// directory, only the user that runs the program can read the files.
//
// A file is first downloaded completely, to a temporary file without a name,
// and then written to the bucket. Its row is inserted before the object is
// written, so an erasure always finds it. The row gets its archived_at once the
// bucket has the file. From then on the file is not downloaded again: only a
// replay of a succeeded run archives it again.
//
// An upload to S3 of more than 16 MiB that is interrupted may leave parts that
// no listing shows. Give the bucket a lifecycle rule that aborts incomplete
// multipart uploads.
//
// # Outcome of a run
//
// Lumin's responses decide it, after every file was tried:
//
//   - 429 and 503: the job is snoozed, which uses no attempt. It waits for
//     Retry-After, from a second to an hour, or for a minute without that
//     header. A day after the event was received, these statuses count like
//     5xx.
//   - 409, because the signature request is not approved yet: likewise, but
//     without Retry-After it waits a tenth of the event's age, from a minute to
//     an hour.
//   - 400, 404, 405, 410, 414, 422 and 451, for the agreement: the run fails
//     immediately and can be replayed. For other files, these statuses may only
//     mean that Lumin has not created the certificate yet, so they are retried.
//   - Any file larger than [lumin.MaxFileSize], or an id that fits no path: the
//     run fails immediately.
//   - Everything else is retried after Backoff. This includes 401 and 403,
//     which an operator fixes with another key, every error of the bucket, and
//     every status of the signed link other than 429 and 503.
package archivecontract
