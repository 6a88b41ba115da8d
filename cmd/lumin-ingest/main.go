// Command lumin-ingest receives Lumin Sign's webhooks, stores them in
// PostgreSQL and runs the built-in job types. A program with its own job types
// has a main package like this one.
package main

import (
	_ "gocloud.dev/blob/s3blob" // s3:// in ARCHIVE_URL, for S3 and compatible servers

	"lumin-ingest/app"
)

func main() { app.Main(nil) }
