package app

import (
	"bytes"
	"context"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lumin-ingest/internal/servicelog"
)

const (
	// collapseEvery is how often a repeated failure is logged.
	collapseEvery = 10 * time.Second

	// logFlush bounds the wait for the last lines when the program ends.
	logFlush = 500 * time.Millisecond
)

// serves reports whether a command runs until it is stopped. Such a command must
// not depend on the readers of its output.
func serves(command string) bool { return command == "serve" || command == "dev" }

// queued returns streams that never block, even if their readers are slow or gone.
// The returned function writes the remaining lines, for at most logFlush.
func (s streams) queued() (streams, func()) {
	// A handler, unlike an ignored signal, is not inherited by child processes.
	brokenPipes := make(chan os.Signal, 1)
	signal.Notify(brokenPipes, syscall.SIGPIPE)
	out, errs := servicelog.NewQueue(ownStream(s.out)), servicelog.NewQueue(ownStream(s.err))
	log.SetOutput(errs) // of job types and libraries that use the standard logger
	return streams{in: s.in, out: out, err: errs, log: errs}, func() {
		log.SetOutput(s.err)
		out.Close(logFlush / 2)
		errs.Close(logFlush / 2)
		signal.Stop(brokenPipes)
	}
}

// serviceLogger returns the logger of a program that serves. Lines are formatted
// by the handler that format makes. The returned function logs the repetitions that
// were counted and not logged yet.
func (s streams) serviceLogger(format func(io.Writer) slog.Handler) (*slog.Logger, func()) {
	if s.log != nil {
		s.log.SetNotice(func(dropped uint64) []byte {
			var line bytes.Buffer
			record := slog.NewRecord(time.Now(), slog.LevelWarn, "log lines dropped: the reader of the log was too slow, or gone", 0)
			record.AddAttrs(slog.Uint64("lines", dropped))
			_ = format(&line).Handle(context.Background(), record) // a buffer takes everything
			return line.Bytes()
		})
	}
	failures := servicelog.NewCollapse(format(s.err), collapseEvery)
	return slog.New(failures), failures.Close
}

// registerLog adds the counter of dropped log lines.
func registerLog(registry *prometheus.Registry, queue *servicelog.Queue) {
	if queue == nil {
		return
	}
	registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "lumin_log_lines_dropped_total",
		Help: "Log lines that were dropped because the reader of the log was too slow, or gone.",
	}, func() float64 { return float64(queue.Dropped()) }))
}
