package archivecontract

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"gocloud.dev/blob"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/store/archive"
	"lumin-ingest/worker"
)

// JobType is archive_contract for one bucket. All fields except Files must be
// set. The package documentation has its guarantees.
type JobType struct {
	worker.Defaults

	Lumin  *lumin.Client
	Bucket *blob.Bucket // closed by the caller
	DB     *pgxpool.Pool

	// BucketURL is the URL that Bucket was opened with. Rows store it without
	// credentials and query, except that a prefix in the query becomes part of
	// the path, and an endpoint stays as scheme and host. EraseArchived finds
	// the files of this bucket by this name.
	BucketURL string

	// Files lists the file types to archive. Empty means the agreement.
	Files []lumin.FileType
}

// Kind implements worker.JobType.
func (JobType) Kind() string { return "archive_contract" }

// Events implements worker.JobType.
func (JobType) Events() []lumin.EventType {
	return []lumin.EventType{lumin.SignatureRequestDownloadable}
}

// Queue returns archive, so that downloads do not delay other jobs.
func (JobType) Queue() string { return "archive" }

// Timeout returns two minutes, the limit for downloading and storing all files.
func (JobType) Timeout() time.Duration { return 2 * time.Minute }

// Work implements worker.Plain.
func (a JobType) Work(ctx context.Context, e *worker.Event) error {
	files := a.Files
	if len(files) == 0 {
		files = []lumin.FileType{lumin.FileAgreement}
	}
	var failed []fileError
	for _, t := range files {
		if err := a.archive(ctx, e, t); err != nil {
			failed = append(failed, classify(e, t, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return runError(failed)
}

// archive archives one file, unless it is already archived.
func (a JobType) archive(ctx context.Context, e *worker.Event, t lumin.FileType) error {
	archived, err := archive.Has(ctx, a.DB, e.Key, t, e.Rerun)
	if err != nil || archived {
		return err
	}
	file, err := a.download(ctx, e.SignatureRequestID, t)
	if err != nil {
		return err
	}
	defer file.Close()
	row := archive.File{
		EventKey: e.Key, FileType: t, Rerun: e.Rerun, SignatureRequestID: e.SignatureRequestID,
		Bucket: bucketName(a.BucketURL), ObjectKey: objectKey(e, t), SHA256: file.sum, Size: file.size,
	}
	return a.save(ctx, row, file)
}

// save writes a file to the bucket under a lock on its row. Another attempt may
// be running at the same time, and Lumin may generate different bytes for each
// download. If both wrote the object, the row could have the hash of the other
// one.
func (a JobType) save(ctx context.Context, row archive.File, file io.Reader) error {
	conn, err := a.DB.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("get a connection: %w", err)
	}
	defer conn.Release()
	locked, err := archive.Lock(ctx, conn, row)
	if err != nil {
		return err
	}
	if !locked {
		return errors.New("another attempt is writing the " + string(row.FileType))
	}
	defer func() {
		unlocking, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if archive.Unlock(unlocking, conn, row) != nil {
			_ = conn.Conn().Close(unlocking) // closing the connection releases the lock
		}
	}()
	archived, err := archive.Has(ctx, conn, row.EventKey, row.FileType, row.Rerun)
	if err != nil || archived { // by the attempt that held the lock before
		return err
	}
	if err := archive.Begin(ctx, conn, row); err != nil {
		return err
	}
	if err := a.write(ctx, row.ObjectKey, file); err != nil {
		return fmt.Errorf("archive the %s: %w", row.FileType, err)
	}
	err = archive.Finish(ctx, conn, row)
	if errors.Is(err, store.ErrNotFound) { // an erasure removed the row during the write
		return errors.Join(err, a.remove(ctx, row.ObjectKey))
	}
	return err
}

// downloaded is a complete file from Lumin. It is on disk until it is closed.
type downloaded struct {
	*os.File
	sum  [32]byte
	size int64
}

// download fetches a file from Lumin to disk. It does not stream to the bucket,
// because a bucket that stores large objects in parts may keep the parts of an
// interrupted upload.
func (a JobType) download(ctx context.Context, id string, t lumin.FileType) (*downloaded, error) {
	file, err := a.Lumin.File(ctx, id, t)
	if err != nil {
		return nil, err
	}
	defer file.Body.Close()
	disk, err := os.CreateTemp("", "lumin-ingest-*.pdf")
	if err != nil {
		return nil, fmt.Errorf("download the %s: %w", t, err)
	}
	_ = os.Remove(disk.Name()) // the data exists until the file is closed, and is lost in a crash
	hash := sha256.New()
	size, err := io.Copy(io.MultiWriter(disk, hash), file.Body)
	if err == nil {
		_, err = disk.Seek(0, io.SeekStart)
	}
	if err != nil {
		disk.Close()
		return nil, fmt.Errorf("download the %s: %w", t, err)
	}
	return &downloaded{File: disk, sum: [32]byte(hash.Sum(nil)), size: size}, nil
}
