// Package contractarchive is an example of a built-in job type that is
// configured in Go. The job type is archivecontract.JobType, which stores the
// signed files in a bucket. In this example the bucket is a local folder.
//
//	archive, err := contractarchive.Open(ctx, env.Lumin, env.DB, "file:///var/lib/contracts?metadata=skip")
//	if err != nil {
//		return nil, err
//	}
//	registry.Add(archive)
//
// For other buckets, import gocloud.dev/blob/s3blob or another driver. Files
// stay until an erasure requires their removal. That removal needs a periodic
// call of EraseArchived: see [Archive.Erasure].
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
	"lumin-ingest/worker/jobs/archivecontract"
)

// Archive is the job type. It stores the agreement and its certificate.
type Archive struct {
	archivecontract.JobType
}

// Open returns an Archive for a bucket. It needs a client for Lumin's API, and
// therefore LUMIN_API_KEY.
func Open(ctx context.Context, client *lumin.Client, db *pgxpool.Pool, bucketURL string) (Archive, error) {
	if client == nil {
		return Archive{}, errors.New("the archive downloads files from Lumin's API: set LUMIN_API_KEY")
	}
	bucket, err := blob.OpenBucket(ctx, bucketURL) // stays open until the program ends
	if err != nil {
		return Archive{}, err
	}
	return Archive{archivecontract.JobType{
		Lumin: client, Bucket: bucket, DB: db, BucketURL: bucketURL,
		Files: []lumin.FileType{lumin.FileAgreement, lumin.FileCoC},
	}}, nil
}

// MaxAttempts returns 15 instead of 10, which spreads the attempts over more
// than a day. Archiving is not urgent, and Lumin may need time to create the
// certificate.
func (Archive) MaxAttempts() int { return 15 }

// Erasure returns a periodic job for registry.AddPeriodic. It removes the files
// that erasures have marked for removal.
func (a Archive) Erasure() worker.Periodic {
	return worker.Periodic{
		Kind: "contract_archive_erasure", Every: time.Minute, Timeout: 30 * time.Second,
		Work: func(ctx context.Context) error {
			_, err := a.EraseArchived(ctx)
			return err
		},
	}
}
