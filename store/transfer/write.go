package transfer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"lumin-ingest/internal/query"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// identity is the unique key of an event.
type identity struct {
	key    [16]byte
	source string
}

// errRefused is the cause of a line whose values the database refuses. The server's
// text could hold values.
var errRefused = errors.New("the database refuses its values")

// isRefused reports whether the server refused data, as opposed to a failure.
func isRefused(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && slices.ContainsFunc([]string{"22", "23", "54"}, func(class string) bool {
		return strings.HasPrefix(refused.Code, class)
	})
}

const (
	attempts = 20 // of a transaction that others have stopped
	pause    = 250 * time.Millisecond
)

// write imports events in one transaction. It is repeated if recordings or another
// import were in its way.
func (i *Importer) write(ctx context.Context, events []*event) error {
	for n := 1; ; n++ {
		var done Result
		err := pgx.BeginTxFunc(ctx, i.Store.Pool(), query.ReadCommitted, func(tx pgx.Tx) (err error) {
			done, err = i.writeTx(ctx, tx, events)
			return err
		})
		if err == nil {
			i.result.add(done)
			return nil
		}
		if n == attempts || !isBlocked(err) {
			return fmt.Errorf("import %d events: %w", len(events), err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// errErasure means that an erasure was ordered while the events were being stored.
var errErasure = errors.New("an erasure was ordered at this moment")

func isBlocked(err error) bool {
	var refused *pgconn.PgError
	return errors.Is(err, store.ErrRecoveryBusy) || errors.Is(err, errErasure) || errors.As(err, &refused) &&
		slices.Contains([]string{pgerrcode.DeadlockDetected, pgerrcode.SerializationFailure, pgerrcode.LockNotAvailable}, refused.Code)
}

func (r *Result) add(done Result) {
	r.Imported, r.Stored, r.Redeliveries = r.Imported+done.Imported, r.Stored+done.Stored, r.Redeliveries+done.Redeliveries
	r.Runs, r.Bodiless, r.Superseded = r.Runs+done.Runs, r.Bodiless+done.Bodiless, r.Superseded+done.Superseded
}

// imported is an event that was inserted.
type imported struct {
	*event
	id       int64
	bodiless bool
}

func (i *Importer) writeTx(ctx context.Context, tx pgx.Tx, events []*event) (done Result, err error) {
	if err := lock(ctx, tx, events); err != nil {
		return done, err
	}
	erased, err := erasedRequests(ctx, tx, events)
	if err != nil {
		return done, err
	}
	inserted, err := insertEvents(ctx, tx, events, erased)
	if err != nil {
		return done, err
	}
	// An erasure does not wait for a transaction that has not written to lumin.events
	// yet. One that was ordered since the first look may have come to its end.
	if now, err := erasedRequests(ctx, tx, events); err != nil || len(now) > len(erased) {
		return done, cmp.Or(err, errErasure)
	}
	done.Imported = int64(len(inserted))
	for _, e := range inserted {
		if e.bodiless && e.Payload != nil {
			done.Bodiless++
		}
	}
	if left := int64(len(events) - len(inserted)); left > 0 {
		if done.Stored, err = countStored(ctx, tx, events); err != nil {
			return done, err
		}
		done.Stored -= done.Imported
		done.Superseded = left - done.Stored
	}
	if done.Superseded > 0 {
		if done.Redeliveries, err = insertOriginals(ctx, tx, events, erased); err != nil {
			return done, err
		}
	}
	if len(inserted) == 0 {
		return done, nil
	}
	repeated, err := insertRedeliveries(ctx, tx, inserted)
	if err != nil {
		return done, err
	}
	done.Redeliveries += repeated
	if err := link(ctx, tx, inserted); err != nil {
		return done, err
	}
	if i.Runs {
		done.Runs, err = createRuns(ctx, tx, inserted)
	}
	return done, err
}

// lock keeps the originals of recovered events apart from them: see
// [store.Store.RecoverTx]. Recovered events are not imported beside programs that
// would not recognize their originals.
func lock(ctx context.Context, tx pgx.Tx, events []*event) error {
	if slices.ContainsFunc(events, (*event).recovered) {
		if err := store.LockForRecovery(ctx, tx); err != nil {
			return err
		}
		return store.CheckPrograms(ctx, tx)
	}
	if slices.ContainsFunc(events, (*event).recoverable) {
		return store.ExcludeRecovery(ctx, tx)
	}
	return nil
}

// request returns the signature request that the event is about; nil if none is known.
// The body of an unrecognized event may name it, if an older program recorded the event.
func (e *event) request() *string {
	if e.SignatureRequestID != nil || e.Payload == nil {
		return e.SignatureRequestID
	}
	envelope, err := lumin.DecodeEnvelope(e.Payload)
	if err != nil {
		return nil
	}
	return &envelope.SignatureRequestID
}

func (e *event) recovered() bool { return e.Source == store.RecoveredSource }

func (e *event) recoverable() bool { return e.named() != nil && e.named().EventType.Recoverable() }

func (e *event) identity() identity { return identity{e.key, e.Source} }

// erasedRequests returns those signature requests of the events that were erased.
func erasedRequests(ctx context.Context, tx pgx.Tx, events []*event) ([]string, error) {
	requests := []string{}
	for _, e := range events {
		if id := e.request(); id != nil {
			requests = append(requests, *id)
		}
	}
	return query.Column[string](ctx, tx, "find erased signature requests", `
		SELECT DISTINCT i FROM lumin.erasures e CROSS JOIN unnest(e.signature_request_ids) i WHERE i = ANY ($1)`, requests)
}

// insertEventsSQL is like the statement of the recorder: a body that was removed
// here is not stored again from another source, and of a recovered event and its
// original only the first is stored.
const insertEventsSQL = `
INSERT INTO lumin.events (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature,
                          key_id, received_at, payload_removed_at, late)
SELECT w.event_key, w.source, w.signature_request_id, w.event_type, w.event_time, CASE WHEN g.removed_at IS NULL THEN w.payload END,
       w.payload_sha256, w.signature, w.key_id, w.received_at, g.removed_at, w.late
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::bytea[], $7::bytea[], $8::bytea[], $9::text[],
            $10::timestamptz[], $11::timestamptz[], $12::boolean[], $13::boolean[], $14::boolean[])
     AS w (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id,
           received_at, payload_removed_at, late, recoverable, erased)
CROSS JOIN LATERAL (
    SELECT coalesce(w.payload_removed_at, max(o.payload_removed_at), CASE WHEN w.erased THEN now() END) AS removed_at,
           coalesce(bool_or(o.source = w.source), false) AS stored
    FROM (SELECT source, payload_removed_at FROM lumin.events WHERE event_key = w.event_key OFFSET 0) o) g
WHERE NOT g.stored AND CASE
    WHEN w.source = 'recovered' THEN NOT EXISTS (
        SELECT FROM lumin.events r WHERE r.signature_request_id = w.signature_request_id AND r.event_type = w.event_type OFFSET 0)
    WHEN w.recoverable THEN NOT EXISTS (
        SELECT FROM lumin.events r
        WHERE r.source = 'recovered' AND r.signature_request_id = w.signature_request_id AND r.event_type = w.event_type OFFSET 0)
    ELSE true END
ORDER BY w.event_key, w.source COLLATE "C"
ON CONFLICT (event_key, source) DO NOTHING
RETURNING id, event_key, source, payload IS NULL`

func insertEvents(ctx context.Context, tx pgx.Tx, events []*event, erased []string) ([]imported, error) {
	n := len(events)
	var (
		keys, sources              = make([][16]byte, n), make([]string, n)
		requests, types            = make([]*string, n), make([]*string, n)
		times, removed             = make([]*time.Time, n), make([]*time.Time, n)
		payloads, sums, signatures = make([][]byte, n), make([][]byte, n), make([][]byte, n)
		keyIDs, received           = make([]string, n), make([]time.Time, n)
		late, recoverable, gone    = make([]bool, n), make([]bool, n), make([]bool, n)
		byIdentity                 = map[identity]*event{}
	)
	for k, e := range events {
		keys[k], sources[k], requests[k], types[k], times[k], removed[k] = e.key, e.Source, e.SignatureRequestID, e.EventType, e.EventTime, e.PayloadRemovedAt
		payloads[k], sums[k], signatures[k], keyIDs[k], received[k] = e.Payload, e.sha256, e.signature, e.KeyID, e.ReceivedAt
		late[k], recoverable[k] = e.Late, e.recoverable()
		id := e.request()
		gone[k] = id != nil && slices.Contains(erased, *id)
		byIdentity[e.identity()] = e
	}
	return query.Rows(ctx, tx, "insert events", func(row pgx.CollectableRow) (i imported, err error) {
		var id identity
		err = row.Scan(&i.id, &id.key, &id.source, &i.bodiless)
		i.event = byIdentity[id]
		return i, err
	}, insertEventsSQL, keys, sources, requests, types, times, payloads, sums, signatures, keyIDs, received, removed, late, recoverable, gone)
}

// countStored counts those of the events that are stored.
func countStored(ctx context.Context, tx pgx.Tx, events []*event) (n int64, err error) {
	keys, sources := make([][16]byte, len(events)), make([]string, len(events))
	for k, e := range events {
		keys[k], sources[k] = e.key, e.Source
	}
	err = tx.QueryRow(ctx, `
		SELECT count(*) FROM unnest($1::uuid[], $2::text[]) AS w (event_key, source)
		CROSS JOIN LATERAL (SELECT FROM lumin.events e WHERE e.event_key = w.event_key AND e.source = w.source OFFSET 0) e`,
		keys, sources).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count stored events: %w", err)
	}
	return n, nil
}

// pairs are events that were made from other events.
type pairs struct {
	keys    [][16]byte
	sources []string

	originKeys    [][16]byte
	originSources []string
}

func (p *pairs) add(made, origin *store.EventRef, own identity) {
	a, b := own, own
	if made != nil {
		a = parsed(made)
	}
	if origin != nil {
		b = parsed(origin)
	}
	p.keys, p.sources = append(p.keys, a.key), append(p.sources, a.source)
	p.originKeys, p.originSources = append(p.originKeys, b.key), append(p.originSources, b.source)
}

const pairsSQL = `
unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[]) AS w (event_key, source, origin_key, origin_source)
JOIN lumin.events o ON o.event_key = w.origin_key AND o.source = w.origin_source`

// These statements change nothing if the other event is not stored yet. Its line
// names the pair as well.
const (
	linkDecodedSQL = `
UPDATE lumin.events e SET decoded_from = o.id FROM ` + pairsSQL + `
WHERE e.event_key = w.event_key AND e.source = w.source AND e.decoded_from IS NULL`

	linkPromotedSQL = `
WITH linked AS (
    UPDATE lumin.events e SET promoted_from = o.id FROM ` + pairsSQL + `
    WHERE e.event_key = w.event_key AND e.source = w.source AND e.promoted_from IS NULL
    RETURNING e.id, e.promoted_from, e.payload_sha256
)
UPDATE lumin.redeliveries d SET promoted_id = l.id FROM linked l
WHERE d.event_id = l.promoted_from AND d.payload_sha256 = l.payload_sha256 AND d.decision = 'promoted'`
)

// link stores the relations of new events. Whichever of two related events is
// imported second adds their relation.
func link(ctx context.Context, tx pgx.Tx, events []imported) error {
	var decoded, promoted pairs
	for _, e := range events {
		if e.DecodedFrom != nil {
			decoded.add(nil, e.DecodedFrom, e.identity())
		}
		if e.DecodedTo != nil {
			decoded.add(e.DecodedTo, nil, e.identity())
		}
		if e.PromotedOf != nil {
			promoted.add(nil, e.PromotedOf, e.identity())
		}
		for _, r := range e.repeated {
			if r.PromotedTo != nil {
				promoted.add(r.PromotedTo, nil, e.identity())
			}
		}
	}
	for sql, p := range map[string]pairs{linkDecodedSQL: decoded, linkPromotedSQL: promoted} {
		if len(p.keys) == 0 {
			continue
		}
		if _, err := tx.Exec(ctx, sql, p.keys, p.sources, p.originKeys, p.originSources); err != nil {
			return fmt.Errorf("link events: %w", err)
		}
	}
	return nil
}

// createRunsSQL creates runs with their jobs, under the rule of a replay of missing
// runs.
const createRunsSQL = `
WITH wanted AS (
    SELECT e.event_key, t.kind, min(e.id) AS event_id, min(e.event_time) AS event_time
    FROM lumin.events e
    JOIN lumin.job_types t ON (t.events = '{}' OR e.event_type = ANY (t.events))
     AND CASE WHEN e.source = 'recovered' THEN t.recovered ELSE t.sources = '{}' OR e.source = ANY (t.sources) END
    WHERE e.id = ANY ($1) AND e.signature_request_id IS NOT NULL AND e.payload_removed_at IS NULL AND NOT e.late
    GROUP BY e.event_key, t.kind
), created AS (
    INSERT INTO lumin.runs (event_key, job_kind, event_id, replay_id, job_id)
    SELECT w.event_key, w.kind, w.event_id, 0, nextval('lumin.river_job_id_seq')
    FROM wanted w
    WHERE NOT EXISTS (SELECT FROM lumin.runs r WHERE r.event_key = w.event_key AND r.job_kind = w.kind OFFSET 0)
    ORDER BY w.event_key, w.kind COLLATE "C"
    ON CONFLICT (event_key, job_kind) DO NOTHING
    RETURNING event_key, job_kind, job_id
)
INSERT INTO lumin.river_job (id, args, kind, max_attempts, priority, queue, scheduled_at)
SELECT c.job_id, jsonb_build_object('event_key', c.event_key, 'replay_id', 0), c.job_kind,
       coalesce(t.max_attempts, 10), coalesce(t.priority, 1), t.queue, now()
FROM created c JOIN lumin.job_types t ON t.kind = c.job_kind
RETURNING queue`

func createRuns(ctx context.Context, tx pgx.Tx, events []imported) (int64, error) {
	ids := make([]int64, len(events))
	for k, e := range events {
		ids[k] = e.id
	}
	queues, err := query.Column[string](ctx, tx, "create runs", createRunsSQL, ids)
	if err != nil {
		return 0, err
	}
	runs := int64(len(queues))
	slices.Sort(queues)
	return runs, store.WakeTx(ctx, tx, slices.Compact(queues))
}
