// Package archive holds the rows of lumin.archived_files: which file of which
// signature request is in which bucket. It does not access the bucket.
//
// The job type archive_contract writes a file in this order:
//
//	locked, err := archive.Lock(ctx, conn, file)   // no other attempt writes it now
//	found, err := archive.Has(ctx, conn, file.EventKey, file.FileType, file.Rerun)
//	err = archive.Begin(ctx, conn, file)           // the row names the object
//	err = bucket.Upload(ctx, file.ObjectKey, content, nil)
//	err = archive.Finish(ctx, conn, file)          // the bucket has the object
//	err = archive.Unlock(ctx, conn, file)
//
// An erasure marks rows (see package erasure). The job type then lists them
// with [ListErased], calls [Forget], removes the object from the bucket, and
// calls [Remove].
//
// What it guarantees:
//
//   - A row exists before its object, so an erasure finds the object even if
//     the program crashed while it wrote the object.
//   - A row of a finished file names its object until an erasure removes it.
//   - Remove keeps a row whose file has been written again since it was listed,
//     or may still be written by a running job.
package archive
