package store

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"lumin-ingest/lumin"
)

// record writes a batch of deliveries in one transaction: new events, their
// runs, the jobs of the new runs, and a count of what was delivered before.
// Receipts are in the order of the batch.
func (s *Store) record(ctx context.Context, batch []*pending, lockTimeout time.Duration) ([]Receipt, error) {
	tx, err := s.beginRecording(ctx, lockTimeout)
	if err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	defer rollback(ctx, tx)

	groups := fold(batch)
	if err := s.write(ctx, tx, insertEventsSQL, groups); err != nil {
		return nil, err
	}
	if err := tx.Commit(ctx); err != nil {
		return nil, commitError(err)
	}
	return receipts(batch, groups), nil
}

// write is the part of recording between BEGIN and COMMIT. insertSQL is
// insertEventsSQL or insertProbeSQL.
func (s *Store) write(ctx context.Context, tx pgx.Tx, insertSQL string, groups []*group) error {
	if err := insertEvents(ctx, tx, insertSQL, groups); err != nil {
		return err
	}
	if err := s.insertRuns(ctx, tx, groups, 0); err != nil {
		return err
	}
	return countRedeliveries(ctx, tx, groups)
}

// RecordTx records deliveries of events that are not stored yet, in tx, with their
// runs and jobs; the runs belong to a replay order. Receipts are in the order of
// the deliveries. A delivery of a stored event changes nothing: its receipt is a
// Duplicate with no event id. Unlike a [Recorder] it counts no redeliveries.
func (s *Store) RecordTx(ctx context.Context, tx pgx.Tx, deliveries []Delivery, replayID int64) ([]Receipt, error) {
	if len(deliveries) == 0 {
		return nil, nil
	}
	batch := make([]*pending, len(deliveries))
	for i := range deliveries {
		batch[i] = &pending{delivery: &deliveries[i], key: deliveries[i].key()}
	}
	groups := fold(batch)
	if err := insertEvents(ctx, tx, insertEventsSQL, groups); err != nil {
		return nil, err
	}
	if err := s.insertRuns(ctx, tx, groups, replayID); err != nil {
		return nil, err
	}
	return receipts(batch, groups), nil
}

// commitError marks the error of a COMMIT with errInDoubt if the outcome is unknown.
// It is known if the server reports an ERROR, such as that of a deferred constraint:
// the server does so only before the transaction is committed.
func commitError(err error) error {
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.SeverityUnlocalized == "ERROR" || errors.Is(err, pgx.ErrTxCommitRollback) {
		return fmt.Errorf("commit: %w", err)
	}
	return fmt.Errorf("%w: %w", errInDoubt, err)
}

// readCommitted is what the statements of a transaction count on: each sees what
// others have committed before it began. Roles and databases may have another
// level as their default.
//
//nolint:gochecknoglobals // a constant, if Go had such
var readCommitted = pgx.TxOptions{IsoLevel: pgx.ReadCommitted}

// rollbackTimeout bounds the wait for an answer that changes nothing any more.
const rollbackTimeout = time.Second

// rollback ends a transaction that is not committed.
func rollback(ctx context.Context, tx pgx.Tx) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
	defer cancel()
	_ = tx.Rollback(ctx) // has no effect after a commit
}

// group is one event in a batch: all deliveries of one key and source, the
// first of them first.
type group struct {
	identity
	deliveries []*delivered

	eventID  int64
	inserted bool // by this transaction, out of deliveries[0]
	bodiless bool // inserted without its body, because that of another source has been removed
}

// identity is what events is unique on.
type identity struct {
	key    lumin.EventKey
	source string
}

func (i identity) compare(j identity) int {
	return cmp.Or(bytes.Compare(i.key[:], j.key[:]), cmp.Compare(i.source, j.source))
}

// delivered is one delivery of a group.
type delivered struct {
	*Delivery
	sha256   [sha256.Size]byte
	position int // in the batch

	// Of a repeated delivery: its event, which may have been a conflict of the
	// group's event, and what became of it.
	eventID      int64
	conflict     bool
	anotherActor bool
}

// fold groups a batch by event. Groups are sorted, so that two transactions take
// their locks in the same order and cannot deadlock.
func fold(batch []*pending) []*group {
	byIdentity := make(map[identity]*group, len(batch))
	groups := make([]*group, 0, len(batch))
	for i, p := range batch {
		id := p.identity()
		g := byIdentity[id]
		if g == nil {
			g = &group{identity: id}
			byIdentity[id] = g
			groups = append(groups, g)
		}
		g.deliveries = append(g.deliveries, &delivered{
			Delivery: p.delivery, sha256: p.delivery.sha256(), position: i,
		})
	}
	slices.SortFunc(groups, func(a, b *group) int { return a.compare(b.identity) })
	return groups
}

// Events that already exist are left out before ON CONFLICT sees them: it would wait
// for a transaction that changes one, and use up an id. A body that was erased is
// not stored again from another source. OFFSET 0: see insertRunsSQL.
const (
	insertEventsSQL = `
INSERT INTO lumin.events (` + insertedColumns + `)
SELECT ` + insertedValues + newEvents

	// insertProbeSQL makes up its own ids, so that only failed recordings leave gaps
	// in the ids of events.
	insertProbeSQL = `
INSERT INTO lumin.events (` + insertedColumns + `, id) OVERRIDING SYSTEM VALUE
SELECT ` + insertedValues + `, -(1 + random() * 9e15)::bigint` + newEvents

	insertedColumns = `event_key, source, signature_request_id, event_type, event_time,
       payload, payload_sha256, signature, key_id, received_at, payload_removed_at`

	insertedValues = `w.event_key, w.source, w.signature_request_id, w.event_type, w.event_time,
       CASE WHEN e.removed_at IS NULL THEN w.payload END, w.payload_sha256, w.signature, w.key_id, w.received_at, e.removed_at`

	newEvents = `
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[],
            $6::bytea[], $7::bytea[], $8::bytea[], $9::text[], $10::timestamptz[])
     AS w (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at)
CROSS JOIN LATERAL (
    SELECT max(o.payload_removed_at) AS removed_at, coalesce(bool_or(o.source = w.source), false) AS stored
    FROM (SELECT source, payload_removed_at FROM lumin.events WHERE event_key = w.event_key OFFSET 0) o) e
WHERE NOT e.stored
ON CONFLICT (event_key, source) DO NOTHING
RETURNING id, event_key, source, payload IS NULL`
)

func insertEvents(ctx context.Context, tx pgx.Tx, insertSQL string, groups []*group) error {
	n := len(groups)
	var (
		keys       = make([][16]byte, n)
		sources    = make([]string, n)
		requests   = make([]*string, n)
		types      = make([]*string, n)
		times      = make([]*time.Time, n)
		payloads   = make([][]byte, n)
		hashes     = make([][]byte, n)
		signatures = make([][]byte, n)
		keyIDs     = make([]string, n)
		received   = make([]time.Time, n)
	)
	for i, g := range groups {
		d := g.deliveries[0]
		keys[i], sources[i] = g.key, g.source
		if e := d.Envelope; e != nil {
			eventType := string(e.EventType)
			requests[i], types[i], times[i] = &e.SignatureRequestID, &eventType, &e.EventTime
		}
		payloads[i], hashes[i], signatures[i] = d.Payload, d.sha256[:], d.Signature
		keyIDs[i], received[i] = d.KeyID, d.ReceivedAt
	}
	rows, err := tx.Query(ctx, insertSQL,
		keys, sources, requests, types, times, payloads, hashes, signatures, keyIDs, received)
	if err != nil {
		return fmt.Errorf("insert %d events: %w", n, err)
	}
	var (
		id       int64
		key      [16]byte
		source   string
		bodiless bool
	)
	_, err = pgx.ForEachRow(rows, []any{&id, &key, &source, &bodiless}, func() error {
		g := find(groups, identity{key, source})
		g.eventID, g.inserted, g.bodiless = id, true, bodiless
		return nil
	})
	if err != nil {
		return fmt.Errorf("insert %d events: %w", n, err)
	}
	return nil
}

// find looks a group up by its identity, which must be there.
func find(groups []*group, id identity) *group {
	i, _ := slices.BinarySearchFunc(groups, id, func(g *group, id identity) int { return g.compare(id) })
	return groups[i]
}

// Runs that are there already are left out before ON CONFLICT sees them: it would
// wait for whoever is changing one, and a worker does for as long as it works on
// the event that another source has brought. OFFSET 0 keeps the look-up a look-up:
// as a join it could come to read the whole table.
const insertRunsSQL = `
INSERT INTO lumin.runs (event_key, job_kind, event_id, replay_id)
SELECT w.event_key, w.job_kind, w.event_id, $4
FROM unnest($1::uuid[], $2::text[], $3::bigint[]) AS w (event_key, job_kind, event_id)
WHERE NOT EXISTS (
    SELECT FROM lumin.runs r WHERE r.event_key = w.event_key AND r.job_kind = w.job_kind OFFSET 0)
ON CONFLICT (event_key, job_kind) DO NOTHING
RETURNING event_key, job_kind`

// insertRuns makes the runs of the new events and puts one job into the queue
// for each run that is new: another source may have brought the same event. They
// are of a replay order, or of none: 0.
func (s *Store) insertRuns(ctx context.Context, tx pgx.Tx, groups []*group, replayID int64) error {
	specs := map[runKey]JobSpec{}
	eventOf := map[runKey]int64{} // of several sources the first
	for _, g := range groups {
		if !g.inserted || g.bodiless {
			continue
		}
		for _, spec := range g.deliveries[0].Jobs {
			k := runKey{g.key, spec.Kind}
			if _, known := specs[k]; !known {
				specs[k], eventOf[k] = spec, g.eventID
			}
		}
	}
	if len(specs) == 0 {
		return nil
	}
	var (
		n        = len(specs)
		keys     = make([][16]byte, 0, n)
		kinds    = make([]string, 0, n)
		eventIDs = make([]int64, 0, n)
	)
	// Sorted as a whole, and not event by event: see fold. Two sources of one event
	// may have different job types.
	for _, k := range slices.SortedFunc(maps.Keys(specs), runKey.compare) {
		keys, kinds, eventIDs = append(keys, k.key), append(kinds, k.kind), append(eventIDs, eventOf[k])
	}
	rows, err := tx.Query(ctx, insertRunsSQL, keys, kinds, eventIDs, replayID)
	if err != nil {
		return fmt.Errorf("insert %d runs: %w", len(keys), err)
	}
	var (
		key  [16]byte
		kind string
		jobs = make([]queuedJob, 0, len(keys))
	)
	_, err = pgx.ForEachRow(rows, []any{&key, &kind}, func() error {
		jobs = append(jobs, queuedJob{
			args: JobArgs{EventKey: key, ReplayID: replayID, JobKind: kind},
			spec: specs[runKey{key, kind}],
		})
		return nil
	})
	if err != nil {
		return fmt.Errorf("insert %d runs: %w", len(keys), err)
	}
	return s.enqueue(ctx, tx, jobs)
}

// runKey is what runs is unique on.
type runKey struct {
	key  lumin.EventKey
	kind string
}

func (k runKey) compare(l runKey) int {
	return cmp.Or(bytes.Compare(k.key[:], l.key[:]), cmp.Compare(k.kind, l.kind))
}

func receipts(batch []*pending, groups []*group) []Receipt {
	receipts := make([]Receipt, len(batch))
	for _, g := range groups {
		for i, d := range g.deliveries {
			status := Duplicate
			if g.inserted && i == 0 {
				status = Recorded
				if d.Envelope == nil {
					status = Unrecognized
				}
			}
			receipts[d.position] = Receipt{
				EventID: cmp.Or(d.eventID, g.eventID), Status: status, Conflict: d.conflict, AnotherActor: d.anotherActor,
			}
		}
	}
	return receipts
}
