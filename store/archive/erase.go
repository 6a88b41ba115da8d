package archive

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
)

const listErasedSQL = `
SELECT f.event_key, f.file_type, f.rerun, f.signature_request_id, f.bucket, f.object_key, f.sha256, f.size_bytes, f.archived_at
FROM lumin.archived_files f
WHERE f.erasure_id IS NOT NULL AND f.bucket = $1 AND (f.event_key, f.file_type, f.rerun) > ($2, $3, $4)
ORDER BY f.event_key, f.file_type, f.rerun LIMIT $5`

// ListErased lists files of a bucket that an erasure has marked, in the order
// of their keys: at most limit files that come after the given one. The zero
// File comes before all others.
func ListErased(ctx context.Context, db Querier, bucket string, after File, limit int) ([]File, error) {
	return query.Rows(ctx, db, "list archived files to erase", func(row pgx.CollectableRow) (f File, err error) {
		var sum []byte
		err = row.Scan((*[16]byte)(&f.EventKey), &f.FileType, &f.Rerun, &f.SignatureRequestID, &f.Bucket, &f.ObjectKey, &sum, &f.Size, &f.ArchivedAt)
		copy(f.SHA256[:], sum)
		return f, err
	}, listErasedSQL, bucket, [16]byte(after.EventKey), string(after.FileType), after.Rerun, limit)
}

// Forget notes that a marked file is about to be removed from its bucket. From
// then on the file may be missing there.
func Forget(ctx context.Context, db Querier, f File) error {
	_, err := db.Exec(ctx, `
		UPDATE lumin.archived_files SET archived_at = NULL
		WHERE event_key = $1 AND file_type = $2 AND rerun = $3 AND bucket = $4 AND erasure_id IS NOT NULL`,
		[16]byte(f.EventKey), string(f.FileType), f.Rerun, f.Bucket)
	if err != nil {
		return fmt.Errorf("note that an archived file is removed: %w", err)
	}
	return nil
}

// A running job is found by River's index on states: few jobs are running. It
// may be a job of an earlier replay, so the id in the run is not enough.
const removeSQL = `
DELETE FROM lumin.archived_files
WHERE event_key = $1 AND file_type = $2 AND rerun = $3 AND bucket = $4 AND erasure_id IS NOT NULL
  AND archived_at IS NOT DISTINCT FROM $5
  AND ($5 IS NOT NULL OR NOT EXISTS (
      SELECT FROM lumin.river_job j
      WHERE j.state = 'running' AND j.args ->> 'event_key' = $1::uuid::text))`

// Remove removes the row of a marked file that is no longer in the bucket. The
// row stays for a later call if the file has been written since it was listed.
// It also stays if the file may still be written: it was unfinished, and a job
// of its event is running.
func Remove(ctx context.Context, db Querier, f File) (removed bool, err error) {
	tag, err := db.Exec(ctx, removeSQL,
		[16]byte(f.EventKey), string(f.FileType), f.Rerun, f.Bucket, f.ArchivedAt)
	if err != nil {
		return false, fmt.Errorf("remove an archived file: %w", err)
	}
	return tag.RowsAffected() > 0, nil
}
