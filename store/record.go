package store

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"lumin-ingest/internal/pgopen"
	"lumin-ingest/internal/query"
	"lumin-ingest/lumin"
)

// recordNew records the new events of a batch, with their runs and the jobs of
// those runs, in one round trip. It marks the groups that it inserted. The
// other groups are redeliveries: see [Store.recordRepeated].
//
// Statements are prepared before anything is sent. If that fails on a
// connection, nothing has been written yet, and another connection is tried:
// see beginRecording.
func (s *Store) recordNew(ctx context.Context, groups []*group, lockTimeout time.Duration) error {
	err := s.sendRecording(ctx, groups, lockTimeout)
	if unprepared := (pgx.ErrPreprocessingBatch{}); errors.As(err, &unprepared) && ctx.Err() == nil {
		pgopen.Drop(s.pool)
		err = s.sendRecording(ctx, groups, lockTimeout)
	}
	return err
}

// sendRecording sends a whole transaction in one round trip.
func (s *Store) sendRecording(ctx context.Context, groups []*group, lockTimeout time.Duration) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("get a connection: %w", err)
	}
	defer conn.Release()
	batch := &pgx.Batch{}
	batch.BeginTx(query.ReadCommitted)
	settings := recordSettingsSQL
	if slices.ContainsFunc(groups, (*group).recoverable) {
		settings += `, ` + excludeRecoveryCall
	}
	batch.Queue(settings, milliseconds(lockTimeout), milliseconds(flushTimeout))
	batch.Queue(recordSQL, recordArgs(groups, 0)...)
	batch.Queue(`COMMIT`)
	sent := conn.SendBatch(ctx, batch)
	stored, err := readRecording(sent)
	if closeErr := sent.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		if tx := sent.Tx(); tx != nil {
			rollback(ctx, tx)
		}
		if conn.Conn().IsClosed() {
			pgopen.Drop(s.pool) // the others may be silent, too, and the next batch would wait for one of them
		}
		return inDoubt(err)
	}
	stored.markInserted(groups)
	return nil
}

// readRecording reads the results of sendRecording.
func readRecording(sent pgx.BatchResults) (inserted, error) {
	for _, step := range []string{"begin", "set up the transaction"} {
		if _, err := sent.Exec(); err != nil {
			return nil, fmt.Errorf("%s: %w", step, err)
		}
	}
	rows, _ := sent.Query() // reading the rows returns the error
	stored, err := readInserted(rows)
	if err != nil {
		return nil, err
	}
	if _, err := sent.Exec(); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	return stored, nil
}

// recordSettingsSQL sets up the transaction of recordSQL. The planner prefers
// custom plans for it, because it estimates the rows of unnest from the length
// of each array. Planning costs several times as much as the statement itself.
// With a generic plan, each connection plans the statement once. The timeouts hold
// behind a pooler too, which may give each transaction another session.
const recordSettingsSQL = `SELECT pg_catalog.set_config('lock_timeout', $1, true), pg_catalog.set_config('statement_timeout', $2, true),
       pg_catalog.set_config('plan_cache_mode', 'force_generic_plan', true)`

// recordRepeated counts redeliveries in a transaction of its own. The events of
// all groups are stored already, some perhaps by a concurrent flusher.
func (s *Store) recordRepeated(ctx context.Context, groups []*group, lockTimeout time.Duration) error {
	tx, err := s.beginRecording(ctx, lockTimeout)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer rollback(ctx, tx)
	if err := countRedeliveries(ctx, tx, groups); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return inDoubt(fmt.Errorf("commit: %w", err))
	}
	return nil
}

// inDoubt marks an error with errInDoubt if the transaction may be committed.
// After an ERROR from the server, such as that of a deferred constraint, it is
// not committed: the server sends an ERROR only before it commits.
func inDoubt(err error) error {
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.SeverityUnlocalized == "ERROR" || errors.Is(err, pgx.ErrTxCommitRollback) {
		return err
	}
	return fmt.Errorf("%w: %w", errInDoubt, err)
}

// rollbackTimeout bounds the wait for the answer to ROLLBACK. The result no
// longer matters.
const rollbackTimeout = time.Second

// rollback ends a transaction that was not committed.
func rollback(ctx context.Context, tx pgx.Tx) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
	defer cancel()
	_ = tx.Rollback(ctx) // no effect after a commit
}

// group holds all deliveries of one event in a batch, in their order.
type group struct {
	identity
	deliveries []*delivered

	eventID  int64
	inserted bool // by this transaction, from deliveries[0]
	bodiless bool // inserted without its body, because the body of another source was erased
}

func (g *group) recoverable() bool { return g.deliveries[0].recoverable() }

// identity is the unique key of an event.
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
	sha256  [sha256.Size]byte
	pending *pending // which gets the receipt
}

// groupByEvent groups a batch by event. Groups are sorted, so that two
// transactions lock rows in the same order and cannot deadlock.
func groupByEvent(batch []*pending) []*group {
	byIdentity := make(map[identity]*group, len(batch))
	groups := make([]*group, 0, len(batch))
	for _, p := range batch {
		id := p.identity()
		g := byIdentity[id]
		if g == nil {
			g = &group{identity: id}
			byIdentity[id] = g
			groups = append(groups, g)
		}
		g.deliveries = append(g.deliveries, &delivered{Delivery: p.delivery, sha256: p.delivery.sha256(), pending: p})
	}
	slices.SortFunc(groups, func(a, b *group) int { return a.compare(b.identity) })
	return groups
}

// recordSQL inserts the new events, their runs, and the jobs of the new runs.
//
// Stored events are excluded before ON CONFLICT sees them. ON CONFLICT would
// wait for a transaction that changes such an event, and consume an id. That
// transaction may be a worker, working on the event of another source. A body
// that was erased is not stored again from another source, and then no run is
// created. If several sources report one event, its runs use the first of them.
// The original of a recovered event is not inserted either. Only events of the
// types that can be recovered are looked up for this: see [Store.RecoverTx].
//
// OFFSET 0 keeps each look-up a look-up: as a join it could read the whole
// table. Runs are sorted as bytes, like the groups: see groupByEvent.
const (
	recordSQL = `
WITH stored AS (
    INSERT INTO lumin.events (` + insertedColumns + `)
    SELECT ` + insertedValues + recordTail

	// recordProbeSQL sets its own ids, so that a probe does not consume ids of
	// events. Only failed recordings do.
	recordProbeSQL = `
WITH stored AS (
    INSERT INTO lumin.events (` + insertedColumns + `, id) OVERRIDING SYSTEM VALUE
    SELECT ` + insertedValues + `, -(1 + random() * 9e15)::bigint` + recordTail

	insertedColumns = `event_key, source, signature_request_id, event_type, event_time,
           payload, payload_sha256, signature, key_id, received_at, payload_removed_at, late`

	insertedValues = `w.event_key, w.source, w.signature_request_id, w.event_type, w.event_time,
           CASE WHEN e.removed_at IS NULL THEN w.payload END, w.payload_sha256, w.signature, w.key_id, w.received_at, e.removed_at, w.late`

	recordTail = `
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[],
                $6::bytea[], $7::bytea[], $8::bytea[], $9::text[], $10::timestamptz[], $19::boolean[], $20::boolean[])
         AS w (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at,
               late, recoverable)
    CROSS JOIN LATERAL (
        SELECT max(o.payload_removed_at) AS removed_at, coalesce(bool_or(o.source = w.source), false) AS stored
        FROM (SELECT source, payload_removed_at FROM lumin.events WHERE event_key = w.event_key OFFSET 0) o) e
    WHERE NOT e.stored AND CASE WHEN w.recoverable THEN NOT EXISTS (
        SELECT FROM lumin.events r
        WHERE r.source = 'recovered' AND r.signature_request_id = w.signature_request_id AND r.event_type = w.event_type OFFSET 0)
        ELSE true END
    ON CONFLICT (event_key, source) DO NOTHING
    RETURNING id, event_key, source, payload IS NULL AS bodiless
), wanted AS (
    SELECT w.event_key, w.job_kind, min(s.id) AS event_id
    FROM unnest($11::uuid[], $12::text[], $13::text[]) AS w (event_key, source, job_kind)
    JOIN stored s ON s.event_key = w.event_key AND s.source = w.source AND NOT s.bodiless
    GROUP BY w.event_key, w.job_kind
), new_runs AS (
    INSERT INTO lumin.runs (event_key, job_kind, event_id, replay_id, job_id)
    SELECT w.event_key, w.job_kind, w.event_id, $18, nextval('lumin.river_job_id_seq')
    FROM wanted w
    WHERE NOT EXISTS (
        SELECT FROM lumin.runs r WHERE r.event_key = w.event_key AND r.job_kind = w.job_kind OFFSET 0)
    ORDER BY w.event_key, w.job_kind COLLATE "C"
    ON CONFLICT (event_key, job_kind) DO NOTHING
    RETURNING event_key, job_kind, job_id
), jobs AS (
    INSERT INTO lumin.river_job (id, args, kind, max_attempts, priority, queue, scheduled_at)
    SELECT r.job_id, jsonb_build_object('event_key', r.event_key, 'replay_id', $18::bigint),
           r.job_kind, k.max_attempts, k.priority, k.queue, now()
    FROM new_runs r
    JOIN unnest($14::text[], $15::smallint[], $16::smallint[], $17::text[])
         AS k (kind, max_attempts, priority, queue) ON k.kind = r.job_kind
)
SELECT id, event_key, source, bodiless FROM stored`
)

// recordArgs returns the arguments of recordSQL: the first delivery of each
// group, and the runs for its event. Their jobs belong to a replay order; 0
// means none.
func recordArgs(groups []*group, replayID int64) []any {
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
		late       = make([]bool, n)
		certain    = make([]bool, n)

		runKeys    = make([][16]byte, 0, n)
		runSources = make([]string, 0, n)
		runKinds   = make([]string, 0, n)
		specs      jobSpecs
	)
	for i, g := range groups {
		d := g.deliveries[0]
		keys[i], sources[i] = g.key, g.source
		if e := d.Envelope; e != nil {
			eventType := string(e.EventType)
			requests[i], types[i], times[i] = &e.SignatureRequestID, &eventType, &e.EventTime
		}
		payloads[i], hashes[i], signatures[i] = d.Payload, d.sha256[:], d.Signature
		keyIDs[i], received[i], late[i], certain[i] = d.KeyID, d.ReceivedAt, d.Late, g.recoverable()
		for _, spec := range d.Jobs {
			runKeys, runSources, runKinds = append(runKeys, g.key), append(runSources, g.source), append(runKinds, spec.Kind)
			specs.add(spec)
		}
	}
	return []any{
		keys, sources, requests, types, times, payloads, hashes, signatures, keyIDs, received,
		runKeys, runSources, runKinds, specs.kinds, specs.attempts, specs.priorities, specs.queues, replayID,
		late, certain,
	}
}

// jobSpecs holds the columns of the distinct JobSpecs of a batch.
type jobSpecs struct {
	kinds, queues        []string
	attempts, priorities []int16
}

func (s *jobSpecs) add(spec JobSpec) {
	if slices.Contains(s.kinds, spec.Kind) {
		return
	}
	s.kinds, s.queues = append(s.kinds, spec.Kind), append(s.queues, spec.Queue)
	s.attempts, s.priorities = append(s.attempts, int16(spec.MaxAttempts)), append(s.priorities, int16(spec.Priority))
}

// inserted holds the rows that recordSQL returns: the new events.
type inserted []insertedEvent

type insertedEvent struct {
	identity
	id       int64
	bodiless bool
}

func readInserted(rows pgx.Rows) (inserted, error) {
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (e insertedEvent, err error) {
		return e, row.Scan(&e.id, (*[16]byte)(&e.key), &e.source, &e.bodiless)
	})
}

// markInserted marks the groups that were inserted.
func (in inserted) markInserted(groups []*group) {
	for _, e := range in {
		g := find(groups, e.identity)
		g.eventID, g.inserted, g.bodiless = e.id, true, e.bodiless
	}
}

// recordTx is recordNew in a transaction of the caller. sql is recordSQL or
// recordProbeSQL.
func recordTx(ctx context.Context, tx pgx.Tx, sql string, groups []*group, replayID int64) error {
	rows, _ := tx.Query(ctx, sql, recordArgs(groups, replayID)...) // reading the rows returns the error
	inserted, err := readInserted(rows)
	if err != nil {
		return fmt.Errorf("record %d events: %w", len(groups), err)
	}
	inserted.markInserted(groups)
	return nil
}

// find returns the group with this identity, which must exist.
func find(groups []*group, id identity) *group {
	i, _ := slices.BinarySearchFunc(groups, id, func(g *group, id identity) int { return g.compare(id) })
	return groups[i]
}

// queuesToWake lists the queues that may hold jobs of these new events.
func queuesToWake(groups []*group) (queues []string) {
	for _, g := range groups {
		if !g.inserted || g.bodiless {
			continue
		}
		for _, spec := range g.deliveries[0].Jobs {
			if !slices.Contains(queues, spec.Queue) {
				queues = append(queues, spec.Queue)
			}
		}
	}
	return queues
}

// setReceipts sets the receipts of the inserted deliveries. It returns them,
// and separately the redeliveries.
func setReceipts(groups []*group) (fresh, repeated []*pending) {
	for _, g := range groups {
		for i, d := range g.deliveries {
			if !g.inserted || i > 0 {
				repeated = append(repeated, d.pending)
				continue
			}
			d.pending.receipt = Receipt{EventID: g.eventID, Status: Recorded}
			switch {
			case d.Envelope == nil:
				d.pending.receipt.Status = Unrecognized
			case d.Late:
				d.pending.receipt.Status = Late
			}
			fresh = append(fresh, d.pending)
		}
	}
	return fresh, repeated
}
