package service

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

// QueueOutput returns writers to the standard streams that never block, even if
// their readers are slow or gone. It also ignores SIGPIPE, which would end the
// program when a reader has gone. The returned function writes the remaining
// lines, for at most half a second.
func QueueOutput(stdout, stderr io.Writer) (out, errs *servicelog.Queue, flush func()) {
	// A handler, unlike an ignored signal, is not inherited by child processes.
	brokenPipes := make(chan os.Signal, 1)
	signal.Notify(brokenPipes, syscall.SIGPIPE)
	out, errs = servicelog.NewQueue(servicelog.OwnStream(stdout)), servicelog.NewQueue(servicelog.OwnStream(stderr))
	log.SetOutput(errs) // for job types and libraries that use the standard logger
	return out, errs, func() {
		log.SetOutput(stderr)
		out.Close(logFlush / 2)
		errs.Close(logFlush / 2)
		signal.Stop(brokenPipes)
	}
}

// NewLogger returns the logger of a service. It writes to a queue of
// QueueOutput, with the handler that format makes, and collapses repeated
// failures. The returned function logs the repetitions that are counted but not
// logged yet.
func NewLogger(to *servicelog.Queue, format func(io.Writer) slog.Handler) (*slog.Logger, func()) {
	to.SetNotice(func(dropped uint64) []byte {
		var line bytes.Buffer
		record := slog.NewRecord(time.Now(), slog.LevelWarn, "log lines dropped: the reader of the log was too slow or gone", 0)
		record.AddAttrs(slog.Uint64("lines", dropped))
		_ = format(&line).Handle(context.Background(), record) // writing to a buffer cannot fail
		return line.Bytes()
	})
	failures := servicelog.NewCollapse(format(to), collapseEvery)
	return slog.New(failures), failures.Close
}

// registerLog adds the counter of dropped log lines.
func registerLog(registry *prometheus.Registry, queue *servicelog.Queue) {
	if queue == nil {
		return
	}
	registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "lumin_log_lines_dropped_total",
		Help: "Log lines that were dropped because the reader of the log was too slow or gone.",
	}, func() float64 { return float64(queue.Dropped()) }))
}
