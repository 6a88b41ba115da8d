package store

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/errtext"
	"lumin-ingest/internal/redact"
)

// wakeEvery bounds how often a waker notifies. In between, it collects queues.
const wakeEvery = time.Millisecond

// wakeTimeout bounds one notification.
const wakeTimeout = 5 * time.Second

// waker notifies River's clients of new jobs after their commit. A NOTIFY in
// the recording transaction would hold a lock of the whole database until the
// commit ends, so all commits would wait for each other. If a notification is
// lost, the clients find the jobs when they next poll, within a second.
type waker struct {
	store  *Store
	logger *slog.Logger

	mu     sync.Mutex
	queues []string
	signal chan struct{} // holds a token while queues is not empty
	closed chan struct{}
	once   sync.Once // closes closed
	done   sync.WaitGroup
}

func newWaker(s *Store, logger *slog.Logger) *waker {
	w := &waker{store: s, logger: logger, signal: make(chan struct{}, 1), closed: make(chan struct{})}
	w.done.Go(w.run)
	return w
}

// wake requests a notification of these queues. It does not wait.
func (w *waker) wake(queues []string) {
	if len(queues) == 0 {
		return
	}
	w.mu.Lock()
	for _, queue := range queues {
		if !slices.Contains(w.queues, queue) {
			w.queues = append(w.queues, queue)
		}
	}
	w.mu.Unlock()
	select {
	case w.signal <- struct{}{}:
	default: // the token is there already
	}
}

func (w *waker) run() {
	for {
		select {
		case <-w.signal:
			w.notify()
		case <-w.closed:
			select {
			case <-w.signal:
				w.notify()
			default:
			}
			return
		}
		time.Sleep(wakeEvery)
	}
}

func (w *waker) notify() {
	w.mu.Lock()
	queues := w.queues
	w.queues = nil
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), wakeTimeout)
	defer cancel()
	if _, err := w.store.pool.Exec(ctx, wakeSQL, queues); err != nil {
		w.logger.Warn("workers not notified of new jobs: they find them within a second",
			"error", errtext.Plain(redact.Text(err.Error())))
	}
}

// close sends the requested notifications, and ends the waker.
func (w *waker) close() {
	w.once.Do(func() { close(w.closed) })
	w.done.Wait()
}

// WakeTx notifies River's clients of new jobs in these queues. They get the
// notification when tx commits.
func WakeTx(ctx context.Context, tx pgx.Tx, queues []string) error {
	if _, err := tx.Exec(ctx, wakeSQL, queues); err != nil {
		return fmt.Errorf("wake the workers: %w", err)
	}
	return nil
}

// wakeSQL notifies River's clients as River does when it inserts a job.
const wakeSQL = `SELECT pg_notify('lumin.river_insert', json_build_object('queue', q)::text) FROM unnest($1::text[]) q`
