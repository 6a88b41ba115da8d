// Package pgdownload downloads PostgreSQL's server programs into a cache
// folder.
//
// Use it as the last resort of package pgdev, for a developer who has no
// PostgreSQL installed. Only the command dev calls it. Tests and the service do
// not import it, because it brings a second PostgreSQL driver, archive formats
// and package testing into the program.
//
// Guarantees:
//
//   - Complete. The programs get their final name only when all of them are
//     unpacked and their checksum is right. A failed download leaves nothing
//     that a later call would use.
//   - Once. A later call finds the programs in the cache and sends no request.
//   - Removable. The build tag nodownload leaves the downloader and its
//     libraries out of a program. The images are built with that tag: they have
//     no shell, which a private server needs.
//
// An example:
//
//	server, err := pgdev.Start(ctx, pgdev.Config{Download: pgdownload.Fetch})
package pgdownload
