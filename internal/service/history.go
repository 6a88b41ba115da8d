package service

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/ingest"
	"lumin-ingest/internal/errtext"
	"lumin-ingest/store/history"
	"lumin-ingest/worker"
)

const (
	// flushEvery is how old the newest picture of the dashboard may be.
	flushEvery = 5 * time.Second

	// tidyEvery is how often the age of the oldest pending run is noted, and old
	// rows are removed.
	tidyEvery = time.Minute
)

// historian writes what this program counts into the tables of the history.
// Nothing else depends on them, so a failure is logged once and tried again.
type historian struct {
	pool   *pgxpool.Pool
	logger *slog.Logger
	writer *history.Writer

	failing bool
	tidied  time.Time
	cancel  context.CancelFunc
	ended   chan struct{}
}

// answered counts a delivery.
func (s *Service) answered(a ingest.Answered) { s.history.Delivery(history.Delivery(a)) }

// attempted counts an attempt, unless the job is an internal one.
func (s *Service) attempted(e worker.Ended) {
	if !strings.HasPrefix(e.Kind, worker.InternalPrefix) {
		s.history.Attempt(history.Attempt(e))
	}
}

// startHistorian writes the history from now on, until stop.
func (s *Service) startHistorian(every time.Duration) *historian {
	h := &historian{pool: s.store.Pool(), logger: s.cfg.Logger, writer: s.history, ended: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	h.cancel = cancel
	go func() {
		defer close(h.ended)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			h.write(ctx)
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return h
}

// write writes the counts, and once a minute does the rest.
func (h *historian) write(ctx context.Context) {
	err := h.within(ctx, h.writer.Flush)
	if time.Since(h.tidied) >= tidyEvery && err == nil {
		h.tidied = time.Now()
		err = h.within(ctx, history.NoteBacklog)
		if tidyErr := h.within(ctx, history.Tidy); err == nil {
			err = tidyErr
		}
	}
	if err != nil && !h.failing && ctx.Err() == nil {
		h.logger.Warn("cannot write the history that the dashboard shows; the program runs on without it", "reason", errtext.OneLine(err))
	}
	h.failing = err != nil
}

// within calls write with a time limit.
func (h *historian) within(ctx context.Context, write func(context.Context, *pgxpool.Pool) error) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	return write(ctx, h.pool)
}

// stop writes what was counted last.
func (h *historian) stop() {
	h.cancel()
	<-h.ended
	ctx, cancel := context.WithTimeout(context.Background(), forgetTimeout)
	defer cancel()
	if err := h.writer.Flush(ctx, h.pool); err != nil {
		h.logger.Debug("the last seconds of the history are lost", "reason", errtext.OneLine(err))
	}
}
