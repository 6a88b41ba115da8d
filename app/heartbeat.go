package app

import (
	"context"
	"crypto/rand"
	"log/slog"
	"os"
	"time"

	"lumin-ingest/internal/version"
	"lumin-ingest/store"
	"lumin-ingest/store/catalog"
)

const (
	// beatEvery is how often a program says that it still runs.
	beatEvery = catalog.SeenWithin / 4

	// forgetTimeout bounds the wait for the database when the program stops.
	forgetTimeout = 2 * time.Second
)

// heartbeat keeps the row of this program in lumin.programs. Nothing but that
// depends on it: what fails is logged once and tried again.
type heartbeat struct {
	store   *store.Store
	logger  *slog.Logger
	program catalog.Program
	stuck   func() []string // nil: never
	failing bool
	cancel  context.CancelFunc
	ended   chan struct{}
}

// beat shows this program from now on, until the heartbeat is stopped.
func (s *service) beat() *heartbeat {
	program := catalog.Program{
		Host: "unknown", PID: os.Getpid(), Role: s.cfg.role(), Version: version.String(),
		Kinds: s.cfg.registry.Kinds(), OtherKinds: s.cfg.registry.OtherKinds(),
	}
	_, _ = rand.Read(program.ID[:]) // never fails
	if host, err := os.Hostname(); err == nil {
		program.Host = host
	}
	return startHeartbeat(s.store, s.cfg.logger, program, beatEvery, s.stuckQueues)
}

func startHeartbeat(st *store.Store, logger *slog.Logger, program catalog.Program, every time.Duration, stuck func() []string) *heartbeat {
	ctx, cancel := context.WithCancel(context.Background())
	h := &heartbeat{store: st, logger: logger, program: program, stuck: stuck, cancel: cancel, ended: make(chan struct{})}
	go h.run(ctx, every)
	return h
}

func (h *heartbeat) run(ctx context.Context, every time.Duration) {
	defer close(h.ended)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		h.once(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (h *heartbeat) once(ctx context.Context) {
	looking, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	if h.stuck != nil {
		h.program.Stuck = h.stuck()
	}
	err := catalog.See(looking, h.store.Pool(), h.program)
	if err != nil && !h.failing && ctx.Err() == nil {
		h.logger.Warn("cannot update this program's row in lumin.programs; the program runs on without it", "reason", oneLine(err))
	}
	h.failing = err != nil
}

// stop takes the row away. Should that fail, it is not seen for a minute, and
// then counts no more.
func (h *heartbeat) stop() {
	h.cancel()
	<-h.ended
	ctx, cancel := context.WithTimeout(context.Background(), forgetTimeout)
	defer cancel()
	if err := catalog.Forget(ctx, h.store.Pool(), h.program.ID); err != nil {
		h.logger.Debug("the row in lumin.programs stays for a day", "reason", oneLine(err))
	}
}
