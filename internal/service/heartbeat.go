package service

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/errtext"
	"lumin-ingest/internal/version"
	"lumin-ingest/store"
	"lumin-ingest/store/catalog"
)

const (
	// beatEvery leaves room for three failed updates before the program counts
	// as gone.
	beatEvery = catalog.SeenWithin / 4

	// forgetTimeout limits the wait for the database when the program stops.
	forgetTimeout = 2 * time.Second
)

// heartbeat keeps this program's row in lumin.programs up to date. Nothing else
// depends on the row, so a failure is logged once and tried again.
type heartbeat struct {
	pool    *pgxpool.Pool
	logger  *slog.Logger
	program catalog.Program
	stuck   func() []string // the queues that are stuck; nil: never any

	failing bool
	cancel  context.CancelFunc
	ended   chan struct{}
}

// startHeartbeat describes this program, and starts its heartbeat.
func (s *Service) startHeartbeat() *heartbeat {
	program := catalog.Program{
		ID: s.id, Host: "unknown", PID: os.Getpid(), Role: s.cfg.role(), Version: version.String(),
		Kinds: s.cfg.Registry.Kinds(), OtherKinds: s.cfg.Registry.OtherKinds(),
		Connections: s.cfg.connections(), SchemaVersion: store.SchemaVersion(),
	}
	if host, err := os.Hostname(); err == nil {
		program.Host = host
	}
	h := &heartbeat{pool: s.store.Pool(), logger: s.cfg.Logger, program: program, stuck: s.stuckQueues}
	h.start(beatEvery)
	return h
}

// start updates the row from now on, until stop.
func (h *heartbeat) start(every time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	h.cancel, h.ended = cancel, make(chan struct{})
	go func() {
		defer close(h.ended)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			h.beat(ctx)
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
}

// beat updates the row once.
func (h *heartbeat) beat(ctx context.Context) {
	looking, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	if h.stuck != nil {
		h.program.Stuck = h.stuck()
	}
	err := catalog.Heartbeat(looking, h.pool, h.program)
	if err != nil && !h.failing && ctx.Err() == nil {
		h.logger.Warn("cannot update this program's row in lumin.programs; the program runs on without it", "reason", errtext.OneLine(err))
	}
	h.failing = err != nil
}

// stop removes the row. If that fails, the program counts as running for one
// more minute.
func (h *heartbeat) stop() {
	h.cancel()
	<-h.ended
	ctx, cancel := context.WithTimeout(context.Background(), forgetTimeout)
	defer cancel()
	if err := catalog.Forget(ctx, h.pool, h.program.ID); err != nil {
		h.logger.Debug("the row in lumin.programs stays for a day", "reason", errtext.OneLine(err))
	}
}
