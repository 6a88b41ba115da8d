package archive

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// Querier is a pool, a connection or a transaction.
type Querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// File is one row of lumin.archived_files.
type File struct {
	// Event key, type of file and number of the rerun identify a file.
	EventKey lumin.EventKey
	FileType lumin.FileType
	Rerun    int // see Event.Rerun

	SignatureRequestID string
	Bucket             string // URL without credentials
	ObjectKey          string
	SHA256             [32]byte
	Size               int64      // bytes
	ArchivedAt         *time.Time // set by the database; nil until the bucket has the file
}

const hasSQL = `
SELECT EXISTS (SELECT FROM lumin.archived_files WHERE event_key = $1 AND file_type = $2 AND rerun = $3 AND archived_at IS NOT NULL)`

// Has reports whether the bucket has the file.
func Has(ctx context.Context, db Querier, key lumin.EventKey, t lumin.FileType, rerun int) (found bool, err error) {
	err = db.QueryRow(ctx, hasSQL, [16]byte(key), string(t), rerun).Scan(&found)
	if err != nil {
		return false, fmt.Errorf("find an archived file: %w", err)
	}
	return found, nil
}

// Lock keeps other attempts from writing the same file until [Unlock], or until
// the connection ends. It does not wait; locked is false if another connection
// holds the lock.
func Lock(ctx context.Context, conn Querier, f File) (locked bool, err error) {
	if err := conn.QueryRow(ctx, `SELECT pg_try_advisory_lock(hashtextextended($1, 0))`, f.lock()).Scan(&locked); err != nil {
		return false, fmt.Errorf("lock an archived file: %w", err)
	}
	return locked, nil
}

// Unlock releases the lock of [Lock]. After an error the connection must be
// closed.
func Unlock(ctx context.Context, conn Querier, f File) error {
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_unlock(hashtextextended($1, 0))`, f.lock()); err != nil {
		return fmt.Errorf("unlock an archived file: %w", err)
	}
	return nil
}

func (f File) lock() string {
	return fmt.Sprintf("lumin.archived_files/%s/%s/%d", f.EventKey, f.FileType, f.Rerun)
}

const beginSQL = `
INSERT INTO lumin.archived_files AS f (event_key, file_type, rerun, signature_request_id, bucket, object_key, sha256, size_bytes)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT ON CONSTRAINT archived_files_pkey DO UPDATE
SET bucket = excluded.bucket, object_key = excluded.object_key, sha256 = excluded.sha256, size_bytes = excluded.size_bytes
WHERE f.archived_at IS NULL`

// Begin adds the row of a file before the file is written to the bucket. A row
// of an earlier attempt that did not finish is updated.
func Begin(ctx context.Context, db Querier, f File) error {
	_, err := db.Exec(ctx, beginSQL, [16]byte(f.EventKey), string(f.FileType), f.Rerun, f.SignatureRequestID,
		f.Bucket, f.ObjectKey, f.SHA256[:], f.Size)
	if err != nil {
		return fmt.Errorf("note an archived file: %w", err)
	}
	return nil
}

// Finish notes that the bucket has the file. The error is [store.ErrNotFound]
// if an erasure has removed the row meanwhile.
func Finish(ctx context.Context, db Querier, f File) error {
	tag, err := db.Exec(ctx, `
		UPDATE lumin.archived_files SET archived_at = now(), sha256 = $4, size_bytes = $5
		WHERE event_key = $1 AND file_type = $2 AND rerun = $3`, [16]byte(f.EventKey), string(f.FileType), f.Rerun, f.SHA256[:], f.Size)
	if err == nil && tag.RowsAffected() == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("note an archived file: %w", err)
	}
	return nil
}
