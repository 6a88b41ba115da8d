package worker

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/riverqueue/river/riverdriver"

	"lumin-ingest/internal/redact"
)

// steadyListener is River's listener for notifications. It reconnects when its
// connection fails. River itself would pause after each failure since its
// start, each time twice as long, up to eight minutes. No job is lost in that
// time, because River also polls, but each job waits for the next poll.
type steadyListener struct {
	riverdriver.Listener
	logger *slog.Logger

	mu        sync.Mutex
	started   bool // was connected once
	connected bool
	topics    map[string]bool
}

const (
	reconnectPause = time.Second // between two attempts to connect
	listenTimeout  = 5 * time.Second
)

// Connect implements riverdriver.Listener. Only the first attempt may fail, and
// the start of the Runtime then reports the error.
func (l *steadyListener) Connect(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.Listener.Connect(ctx)
	l.connected = err == nil
	if err != nil && !l.started {
		return err
	}
	l.started = true
	return nil
}

// Close implements riverdriver.Listener.
func (l *steadyListener) Close(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.connected = false
	return l.Listener.Close(ctx)
}

// Listen implements riverdriver.Listener.
func (l *steadyListener) Listen(ctx context.Context, topic string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.topics[topic] = true
	l.attempt(ctx, func() error { return l.Listener.Listen(ctx, topic) })
	return nil
}

// Unlisten implements riverdriver.Listener.
func (l *steadyListener) Unlisten(ctx context.Context, topic string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.topics, topic)
	l.attempt(ctx, func() error { return l.Listener.Unlisten(ctx, topic) })
	return nil
}

// Ping implements riverdriver.Listener.
func (l *steadyListener) Ping(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.attempt(ctx, func() error { return l.Listener.Ping(ctx) })
	return nil
}

// WaitForNotification implements riverdriver.Listener. It returns with the
// first notification, or when ctx ends.
func (l *steadyListener) WaitForNotification(ctx context.Context) (*riverdriver.Notification, error) {
	for {
		if !l.restore(ctx) {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(reconnectPause):
			}
			continue
		}
		notification, err := l.Listener.WaitForNotification(ctx)
		if err == nil || ctx.Err() != nil {
			return notification, err
		}
		l.mu.Lock()
		l.drop(err)
		l.mu.Unlock()
	}
}

// restore connects and listens again, unless it is connected.
func (l *steadyListener) restore(ctx context.Context) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.connected {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, listenTimeout)
	defer cancel()
	if l.Listener.Connect(ctx) != nil {
		return false
	}
	l.connected = true
	for _, topic := range slices.Sorted(maps.Keys(l.topics)) {
		l.attempt(ctx, func() error { return l.Listener.Listen(ctx, topic) })
	}
	if l.connected {
		l.logger.Info("listening for new jobs again")
	}
	return l.connected
}

// attempt calls do if the listener is connected.
func (l *steadyListener) attempt(ctx context.Context, do func() error) {
	if !l.connected {
		return
	}
	if err := do(); err != nil && ctx.Err() == nil {
		l.drop(err)
	}
}

// drop closes the connection after an error.
func (l *steadyListener) drop(err error) {
	ctx, cancel := context.WithTimeout(context.Background(), reconnectPause)
	defer cancel()
	_ = l.Listener.Close(ctx) // it has failed already
	if l.connected {
		l.logger.Warn("not listening for new jobs: they are found by polling", "reason", redact.Text(err.Error()))
	}
	l.connected = false
}
