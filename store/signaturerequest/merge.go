package signaturerequest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// A conflict locks the existing row, and the condition keeps it from being
// written. The rows come sorted, so that two transactions lock them in the same
// order.
const insertManySQL = `
INSERT INTO lumin.signature_requests AS s (` + columns + `)
SELECT ` + manyColumns + `
ON CONFLICT (signature_request_id) DO UPDATE SET signature_request_id = s.signature_request_id WHERE false
RETURNING signature_request_id`

// The limit makes the planner expect few rows, as in package store.
const manyColumns = `w.id, w.status, w.title, w.reason, w.signing_type, w.created_at, w.updated_at, w.expires_at,
    w.last_event_type, w.last_event_time, w.gone_at, w.versions::jsonb
FROM (SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::timestamptz[], $8::timestamptz[],
    $9::text[], $10::timestamptz[], $11::timestamptz[], $12::text[]) AS u (id, status, title, reason, signing_type, created_at, updated_at, expires_at,
    last_event_type, last_event_time, gone_at, versions) LIMIT $13) w`

// OFFSET 0 keeps this a look-up for each row.
const selectManySQL = `
SELECT r.* FROM unnest($1::text[]) AS w (id)
CROSS JOIN LATERAL (SELECT ` + columns + ` FROM lumin.signature_requests WHERE signature_request_id = w.id OFFSET 0) r`

const updateManySQL = `
UPDATE lumin.signature_requests s
SET (` + columns + `) = (w.id, w.status, w.title, w.reason, w.signing_type, w.created_at, w.updated_at, w.expires_at,
    w.last_event_type, w.last_event_time, w.gone_at, w.versions)
FROM (SELECT ` + manyColumns + `) w
WHERE s.signature_request_id = w.id`

// Merge writes the rows of several signature requests. It calls merge for each
// id with the row as it is, or with a new one, and locks existing rows until tx
// ends. merge may be called twice for an id, because a row may turn out to exist
// already: what it does must depend only on the row that it is given. ids must
// be sorted and distinct.
//
// New rows take one round trip, and existing ones two.
func Merge(ctx context.Context, tx pgx.Tx, ids []string, merge func(*Row)) error {
	rows := make([]Row, len(ids))
	for i, id := range ids {
		rows[i] = Row{ID: id, Versions: map[string]string{}}
		merge(&rows[i])
	}
	existing, err := insertMany(ctx, tx, ids, rows)
	if err != nil || len(existing) == 0 {
		return err
	}
	for i := range existing {
		merge(&existing[i])
	}
	args, err := manyArgs(existing)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, updateManySQL, args...); err != nil {
		return fmt.Errorf("update signature requests: %w", err)
	}
	return nil
}

// insertMany inserts the rows that do not exist yet, locks the others, and
// returns these as they are.
func insertMany(ctx context.Context, tx pgx.Tx, ids []string, rows []Row) (existing []Row, err error) {
	args, err := manyArgs(rows)
	if err != nil {
		return nil, err
	}
	inserted := make(map[string]bool, len(rows))
	batch := &pgx.Batch{}
	batch.Queue(insertManySQL, args...).Query(func(rows pgx.Rows) error {
		_, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (id string, err error) {
			err = row.Scan(&id)
			inserted[id] = true
			return id, err
		})
		return err
	})
	batch.Queue(selectManySQL, ids).Query(func(rows pgx.Rows) (err error) {
		existing, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (Row, error) { return scan(row) })
		return err
	})
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return nil, fmt.Errorf("lock signature requests: %w", err)
	}
	return slices.DeleteFunc(existing, func(r Row) bool { return inserted[r.ID] }), nil
}

// manyArgs returns the rows as one array for each column.
func manyArgs(rows []Row) ([]any, error) {
	n := len(rows)
	ids, versions := make([]string, n), make([]string, n)
	statuses, titles, reasons, types, last := make([]*string, n), make([]*string, n), make([]*string, n), make([]*string, n), make([]*string, n)
	created, updated, expires, lastTimes, gone := make([]*time.Time, n), make([]*time.Time, n), make([]*time.Time, n), make([]*time.Time, n), make([]*time.Time, n)
	for i, r := range rows {
		text, err := json.Marshal(r.Versions)
		if err != nil {
			return nil, fmt.Errorf("versions of a signature request: %w", err)
		}
		ids[i], versions[i] = r.ID, string(text)
		statuses[i], titles[i], reasons[i], types[i], last[i] = r.Status, r.Title, r.Reason, r.SigningType, r.LastEventType
		created[i], updated[i], expires[i], lastTimes[i], gone[i] = r.CreatedAt, r.UpdatedAt, r.ExpiresAt, r.LastEventTime, r.GoneAt
	}
	return []any{ids, statuses, titles, reasons, types, created, updated, expires, last, lastTimes, gone, versions, n}, nil
}
