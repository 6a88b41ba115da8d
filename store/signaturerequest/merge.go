package signaturerequest

import (
	"context"
	"encoding/json"
	"fmt"
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
