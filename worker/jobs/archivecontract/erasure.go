package archivecontract

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"lumin-ingest/store/archive"
	"lumin-ingest/worker"
)

// erasePageSize is how many rows are read at a time.
const erasePageSize = 100

// EraseArchived removes the files that an erasure has marked from the bucket,
// and then their rows. It returns the number of removed files. A file that
// cannot be removed does not stop the others and is left for another call; err
// is the first such error. The call may be interrupted and repeated at any
// time, and several calls may run at once. Rows of other buckets are not
// touched.
func (a JobType) EraseArchived(ctx context.Context) (n int, err error) {
	var last archive.File
	for {
		page, listErr := archive.ListErased(ctx, a.DB, bucketName(a.BucketURL), last, erasePageSize)
		if listErr != nil {
			return n, errors.Join(err, listErr)
		}
		for _, file := range page {
			gone, eraseErr := a.erase(ctx, file)
			switch {
			case gone:
				n++
			case eraseErr != nil && err == nil:
				err = fmt.Errorf("erase an archived file: %w", eraseErr)
			}
		}
		if len(page) < erasePageSize {
			return n, err
		}
		last = page[len(page)-1]
	}
}

// Periodic returns periodic work that calls EraseArchived four times a minute.
func (a JobType) Periodic(logger *slog.Logger) worker.Periodic {
	return worker.Periodic{Kind: "erase_archived", Every: 15 * time.Second, Timeout: 2 * time.Minute, Work: func(ctx context.Context) error {
		n, err := a.EraseArchived(ctx)
		if n > 0 {
			logger.Info("archived files erased", "files", n)
		}
		return err
	}}
}

// erase removes a file and then its row. If a file is unexpectedly missing, it
// may be in another bucket of the same name, so its row stays.
func (a JobType) erase(ctx context.Context, file archive.File) (gone bool, err error) {
	if file.ArchivedAt != nil {
		found, err := a.Bucket.Exists(ctx, file.ObjectKey)
		if err != nil {
			return false, bucketError(ctx, err)
		}
		if !found {
			return false, errors.New("an archived file is missing from its bucket: is this another bucket of the same name? " +
				"If someone removed the file, delete its row from lumin.archived_files")
		}
		if err := archive.Forget(ctx, a.DB, file); err != nil {
			return false, err
		}
		file.ArchivedAt = nil
	}
	if err := a.remove(ctx, file.ObjectKey); err != nil {
		return false, err
	}
	return archive.Remove(ctx, a.DB, file)
}
