package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"lumin-ingest/lumin"
)

// Querier is a pool, a connection or a transaction.
type Querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// ArchivedFile is one row of lumin.archived_files: a file of a signature request,
// kept in a bucket.
type ArchivedFile struct {
	// What it was archived for.
	EventKey lumin.EventKey
	FileType lumin.FileType
	Rerun    int // see Event.Rerun

	SignatureRequestID string
	Bucket             string // URL without credentials
	ObjectKey          string
	SHA256             [32]byte
	Size               int64      // bytes
	ArchivedAt         *time.Time // set by the database; nil until the bucket has it
}

const hasArchivedFileSQL = `
SELECT EXISTS (SELECT FROM lumin.archived_files WHERE event_key = $1 AND file_type = $2 AND rerun = $3 AND archived_at IS NOT NULL)`

// HasArchivedFile reports whether a file has been archived for this event and number
// of a replay.
func HasArchivedFile(ctx context.Context, db Querier, key lumin.EventKey, t lumin.FileType, rerun int) (found bool, err error) {
	err = db.QueryRow(ctx, hasArchivedFileSQL, [16]byte(key), string(t), rerun).Scan(&found)
	if err != nil {
		return false, fmt.Errorf("look for an archived file: %w", err)
	}
	return found, nil
}

// LockArchivedFile keeps others from writing the same file while conn holds the lock:
// until [UnlockArchivedFile], or until the connection ends. It does not wait.
func LockArchivedFile(ctx context.Context, conn Querier, f ArchivedFile) (locked bool, err error) {
	if err := conn.QueryRow(ctx, `SELECT pg_try_advisory_lock(hashtextextended($1, 0))`, f.lock()).Scan(&locked); err != nil {
		return false, fmt.Errorf("lock an archived file: %w", err)
	}
	return locked, nil
}

// UnlockArchivedFile lets others write the file. After an error the connection must
// be closed.
func UnlockArchivedFile(ctx context.Context, conn Querier, f ArchivedFile) error {
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_unlock(hashtextextended($1, 0))`, f.lock()); err != nil {
		return fmt.Errorf("unlock an archived file: %w", err)
	}
	return nil
}

func (f ArchivedFile) lock() string {
	return fmt.Sprintf("lumin.archived_files/%s/%s/%d", f.EventKey, f.FileType, f.Rerun)
}

const beginArchivedFileSQL = `
INSERT INTO lumin.archived_files AS f (event_key, file_type, rerun, signature_request_id, bucket, object_key, sha256, size_bytes)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT ON CONSTRAINT archived_files_pkey DO UPDATE
SET bucket = excluded.bucket, object_key = excluded.object_key, sha256 = excluded.sha256, size_bytes = excluded.size_bytes
WHERE f.archived_at IS NULL`

// BeginArchivedFile notes where a file is going to be archived, before it is: what an
// attempt leaves that is cut off must be found by an erasure.
func BeginArchivedFile(ctx context.Context, db Querier, f ArchivedFile) error {
	_, err := db.Exec(ctx, beginArchivedFileSQL, [16]byte(f.EventKey), string(f.FileType), f.Rerun, f.SignatureRequestID,
		f.Bucket, f.ObjectKey, f.SHA256[:], f.Size)
	if err != nil {
		return fmt.Errorf("note an archived file: %w", err)
	}
	return nil
}

// FinishArchivedFile notes that the bucket has a file now. ErrNotFound if an erasure
// has taken its row meanwhile.
func FinishArchivedFile(ctx context.Context, db Querier, f ArchivedFile) error {
	tag, err := db.Exec(ctx, `
		UPDATE lumin.archived_files SET archived_at = now(), sha256 = $4, size_bytes = $5
		WHERE event_key = $1 AND file_type = $2 AND rerun = $3`, [16]byte(f.EventKey), string(f.FileType), f.Rerun, f.SHA256[:], f.Size)
	if err == nil && tag.RowsAffected() == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("note an archived file: %w", err)
	}
	return nil
}

const erasedArchivedFilesSQL = `
SELECT f.event_key, f.file_type, f.rerun, f.signature_request_id, f.bucket, f.object_key, f.sha256, f.size_bytes, f.archived_at
FROM lumin.archived_files f
WHERE f.erasure_id IS NOT NULL AND f.bucket = $1 AND (f.event_key, f.file_type, f.rerun) > ($2, $3, $4)
ORDER BY f.event_key, f.file_type, f.rerun LIMIT $5`

// ErasedArchivedFiles lists files of a bucket that an erasure wants gone, in the order
// of their keys: at most limit of those after the given one, of which the zero value
// comes before all.
func ErasedArchivedFiles(ctx context.Context, db Querier, bucket string, after ArchivedFile, limit int) ([]ArchivedFile, error) {
	rows, err := db.Query(ctx, erasedArchivedFilesSQL, bucket, [16]byte(after.EventKey), string(after.FileType), after.Rerun, limit)
	if err != nil {
		return nil, fmt.Errorf("list archived files to erase: %w", err)
	}
	files, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (f ArchivedFile, err error) {
		var sum []byte
		err = row.Scan((*[16]byte)(&f.EventKey), &f.FileType, &f.Rerun, &f.SignatureRequestID, &f.Bucket, &f.ObjectKey, &sum, &f.Size, &f.ArchivedAt)
		copy(f.SHA256[:], sum)
		return f, err
	})
	if err != nil {
		return nil, fmt.Errorf("list archived files to erase: %w", err)
	}
	return files, nil
}

// ForgetArchivedFile notes that a file which an erasure wants gone is about to be
// removed from its bucket, so that afterwards it may be missing there.
func ForgetArchivedFile(ctx context.Context, db Querier, f ArchivedFile) error {
	_, err := db.Exec(ctx, `
		UPDATE lumin.archived_files SET archived_at = NULL
		WHERE event_key = $1 AND file_type = $2 AND rerun = $3 AND bucket = $4 AND erasure_id IS NOT NULL`,
		[16]byte(f.EventKey), string(f.FileType), f.Rerun, f.Bucket)
	if err != nil {
		return fmt.Errorf("note that an archived file goes: %w", err)
	}
	return nil
}

// RemoveArchivedFile removes the row of a file that an erasure wanted gone and that
// the bucket no longer holds. It stays, for another look, if the file has been written
// since it was listed, or may be: while it is not there and a job is at work on it.
func RemoveArchivedFile(ctx context.Context, db Querier, f ArchivedFile) (removed bool, err error) {
	tag, err := db.Exec(ctx, `
		DELETE FROM lumin.archived_files
		WHERE event_key = $1 AND file_type = $2 AND rerun = $3 AND bucket = $4 AND erasure_id IS NOT NULL
		  AND archived_at IS NOT DISTINCT FROM $5
		  AND ($5 IS NOT NULL OR NOT EXISTS (
		      SELECT FROM lumin.river_job j
		      WHERE j.args @> jsonb_build_object('event_key', $1::uuid) AND j.state = 'running'))`,
		[16]byte(f.EventKey), string(f.FileType), f.Rerun, f.Bucket, f.ArchivedAt)
	if err != nil {
		return false, fmt.Errorf("remove an archived file: %w", err)
	}
	return tag.RowsAffected() > 0, nil
}
