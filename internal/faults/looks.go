//go:build unix

package faults

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/faults/history"
	"lumin-ingest/lumin"
)

// The places of sources and job types in histories.
//
//nolint:gochecknoglobals // tables
var (
	sources     = []string{accountSource, appSource}
	effectKinds = []string{EffectKind, BatchKind, OrderedKind}
)

// lookSQL reads the ids and counts the effects of events.
const lookSQL = `
SELECT w.event_key, e.ids, f.effects
FROM unnest($1::uuid[]) AS w (event_key)
CROSS JOIN LATERAL (
    SELECT array_agg(CASE n WHEN 0 THEN 0 WHEN 1 THEN id ELSE $4::bigint END ORDER BY place) AS ids
    FROM (SELECT s.place, count(e.id) AS n, min(e.id) AS id
          FROM unnest($2::text[]) WITH ORDINALITY AS s (source, place)
          LEFT JOIN lumin.events e ON e.event_key = w.event_key AND e.source = s.source
          GROUP BY s.place) one) e
CROSS JOIN LATERAL (
    SELECT array_agg(n ORDER BY place) AS effects
    FROM (SELECT k.place, count(f.event_key) AS n
          FROM unnest($3::text[]) WITH ORDINALITY AS k (kind, place)
          LEFT JOIN faults.effects f ON f.event_key = w.event_key AND f.job_kind = k.kind
          GROUP BY k.place) one) f`

// readEvents returns a look at each of the events. All see the same moment.
func readEvents(ctx context.Context, db rowQuerier, keys []lumin.EventKey) (map[lumin.EventKey]history.Operation, error) {
	raw := make([][16]byte, len(keys))
	for i, key := range keys {
		raw[i] = key
	}
	began := time.Now()
	rows, err := db.Query(ctx, lookSQL, raw, sources, effectKinds, history.Several)
	if err != nil {
		return nil, err
	}
	seen := make(map[lumin.EventKey]history.View, len(keys))
	var (
		key     [16]byte
		ids     []int64
		effects []int
	)
	_, err = pgx.ForEachRow(rows, []any{&key, &ids, &effects}, func() error {
		var v history.View
		copy(v.IDs[:], ids)
		copy(v.Effects[:], effects)
		seen[key] = v
		return nil
	})
	if err != nil {
		return nil, err
	}
	ended := time.Now()
	looks := make(map[lumin.EventKey]history.Operation, len(seen))
	for key, v := range seen {
		looks[key] = history.Operation{Action: history.Look, Began: began, Ended: ended, Seen: v}
	}
	return looks, nil
}

// looks looks at events during a run, as an operator would, and keeps what it
// has seen.
type looks struct {
	servers *servers
	clients *clients
	rng     *rand.Rand

	mu   sync.Mutex
	seen map[lumin.EventKey]history.History
}

func newLooks(servers *servers, clients *clients, seed uint64) *looks {
	return &looks{servers: servers, clients: clients, rng: rand.New(rand.NewPCG(seed, 1<<34)), seen: map[lumin.EventKey]history.History{}}
}

// lookPause is the time between two looks. Each looks at the events that were
// acknowledged last, and at as many others.
const (
	lookPause = 200 * time.Millisecond
	lookMost  = 8
)

// run looks at events until ctx ends. It does not repeat a look that fails
// because the server is broken.
func (l *looks) run(ctx context.Context) {
	for ctx.Err() == nil {
		if keys := append(l.clients.latest(lookMost), l.clients.some(l.rng, lookMost)...); len(keys) > 0 {
			_ = l.servers.query(ctx, func(ctx context.Context, conn *pgx.Conn) error { return l.look(ctx, conn, keys) })
		}
		pause(ctx, lookPause)
	}
}

// look looks at events in a transaction that writes. A server shows a row as
// soon as it is committed there, even if a failover can still lose it. Once the
// transaction of the look is committed, so is all that it has seen, on the
// standby too.
func (l *looks) look(ctx context.Context, conn *pgx.Conn, keys []lumin.EventKey) error {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadWrite})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if _, err := tx.Exec(ctx, `SELECT pg_current_xact_id()`); err != nil {
		return err
	}
	found, err := readEvents(ctx, tx, keys)
	if err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, o := range found {
		l.seen[key] = append(l.seen[key], o)
	}
	return nil
}
