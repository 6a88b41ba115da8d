//go:build unix

package faults

import (
	"context"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/lumin"
)

// replays orders replays by SQL during a run, as an operator would.
type replays struct {
	servers *servers
	clients *clients
	rng     *rand.Rand

	mu    sync.Mutex
	asked map[lumin.EventKey][]time.Time // when a rerun of an event may have been ordered
	count int                            // orders that were acknowledged
}

func newReplays(servers *servers, clients *clients, seed uint64) *replays {
	return &replays{servers: servers, clients: clients, rng: rand.New(rand.NewPCG(seed, 1<<33)), asked: map[lumin.EventKey][]time.Time{}}
}

// run orders a replay every few seconds until ctx ends. It does not repeat an
// order that fails because the server is broken.
func (o *replays) run(ctx context.Context) {
	for {
		pause(ctx, time.Second+time.Duration(o.rng.Int64N(int64(4*time.Second))))
		if ctx.Err() != nil {
			return
		}
		var err error
		switch o.rng.IntN(4) {
		case 0:
			err = o.order(ctx, `SELECT lumin.replay(status => 'retrying', reason => 'faults')`)
		case 1:
			err = o.orderRerun(ctx)
		case 2:
			err = o.order(ctx, `SELECT lumin.replay(status => 'failed', rate => 20, reason => 'faults, to be cancelled')`)
			pause(ctx, 300*time.Millisecond)
			if err == nil {
				err = o.order(ctx, `UPDATE lumin.replays SET state = 'cancelled' WHERE reason LIKE '%to be cancelled' AND finished_at IS NULL`)
			}
		default:
			err = o.orderFailed(ctx)
		}
		if err == nil {
			o.mu.Lock()
			o.count++
			o.mu.Unlock()
		}
	}
}

func (o *replays) orderFailed(ctx context.Context) error {
	return o.order(ctx, `SELECT lumin.replay(status => 'failed', reason => 'faults')`)
}

// orderRerun orders a rerun of some acknowledged events. They count as ordered
// even after an error, because a broken server may have committed the order.
func (o *replays) orderRerun(ctx context.Context) error {
	keys := o.clients.some(o.rng, 5)
	if len(keys) == 0 {
		return nil
	}
	o.mu.Lock()
	texts := make([]string, 0, len(keys))
	for _, key := range keys {
		o.asked[key] = append(o.asked[key], time.Now())
		texts = append(texts, key.String())
	}
	o.mu.Unlock()
	return o.order(ctx, `
		SELECT lumin.replay(status => 'succeeded', reason => 'faults',
		    event_ids => (SELECT array_agg(id) FROM lumin.events WHERE event_key = ANY ($1::uuid[])))`, texts)
}

func (o *replays) order(ctx context.Context, sql string, args ...any) error {
	return o.servers.query(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, sql, args...)
		return err
	})
}

// reruns returns when a rerun of each event may have been ordered.
func (o *replays) reruns() map[lumin.EventKey][]time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.asked)
}

func (o *replays) orders() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.count
}
