// Package contractarchive is an example of a built-in job type that is configured in Go:
// jobs.ArchiveContract, which keeps the signed files in a bucket, with a folder of the
// disk for one.
//
//	archive, err := contractarchive.Open(ctx, env.Lumin, env.DB, "file:///var/lib/contracts?metadata=skip")
//	if err != nil {
//		return nil, err
//	}
//	registry.Add(archive)
//
// Import gocloud.dev/blob/s3blob, or another driver, for buckets elsewhere. Files stay
// until an erasure wants them gone: call EraseArchived periodically, see
// [Archive.Erasure].
package contractarchive

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"gocloud.dev/blob"
	_ "gocloud.dev/blob/fileblob" // file:///folder

	"lumin-ingest/lumin"
	"lumin-ingest/worker"
	"lumin-ingest/worker/jobs"
)

// Archive is the job type: what is kept is the agreement and its certificate.
type Archive struct {
	jobs.ArchiveContract
}

// Open makes an Archive in a bucket. It needs a client of Lumin's API, and so
// LUMIN_API_KEY.
func Open(ctx context.Context, client *lumin.Client, db *pgxpool.Pool, bucketURL string) (Archive, error) {
	if client == nil {
		return Archive{}, errors.New("the archive asks Lumin for files: set LUMIN_API_KEY")
	}
	bucket, err := blob.OpenBucket(ctx, bucketURL) // open as long as the program runs
	if err != nil {
		return Archive{}, err
	}
	return Archive{jobs.ArchiveContract{
		Lumin: client, Bucket: bucket, DB: db, BucketURL: bucketURL,
		Files: []lumin.FileType{lumin.FileAgreement, lumin.FileCoC},
	}}, nil
}

// MaxAttempts is 15 instead of 10, which is a day and more: there is no haste, and Lumin
// may take its time over the certificate.
func (Archive) MaxAttempts() int { return 15 }

// Erasure removes what an erasure wants gone, for registry.AddPeriodic.
func (a Archive) Erasure() worker.Periodic {
	return worker.Periodic{
		Kind: "contract_archive_erasure", Every: time.Minute, Timeout: 30 * time.Second,
		Work: func(ctx context.Context) error {
			_, err := a.EraseArchived(ctx)
			return err
		},
	}
}
