package app

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"lumin-ingest/internal/service"
)

// instance is a service inside the test, with the job types of these tests.
type instance struct {
	*service.Service
	log  *lines
	stop func() error // and waits; may be called again

	mayFail error // the error that stop may return; nil: none
}

func (i *instance) accountURL() string { return "http://" + i.PublicAddr() + "/webhooks/account" }
func (i *instance) appURL() string     { return "http://" + i.PublicAddr() + "/webhooks/apps/demo" }
func (i *instance) ready() (int, string) {
	return get("http://" + i.AdminAddr() + "/readyz")
}

func (i *instance) waitReady(tb testing.TB) {
	tb.Helper()
	eventually(tb, 60*time.Second, "/readyz answers 200", func() bool {
		status, _ := i.ready()
		return status == http.StatusOK
	})
}

// startInstance starts a service. It stops with the test, must stop without an
// error, and must not have logged any canary.
func startInstance(tb testing.TB, url string, change ...func(*service.Config)) *instance {
	tb.Helper()
	i := &instance{log: &lines{}}
	cfg := service.Config{
		Logger:      slog.New(slog.NewJSONHandler(i.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		DatabaseURL: url, Public: service.Address{HostPort: "127.0.0.1:0"}, Admin: service.Address{HostPort: "127.0.0.1:0"},
		Ingest: true, Work: true, MaxWorkers: 8,
	}
	if err := addJobTypes(context.Background(), &cfg, testJobTypes, Env{}, builtInSettings{SignatureRequestState: true}); err != nil {
		tb.Fatal(err)
	}
	var err error
	if cfg.Sources, err = devSources(cfg.Registry); err != nil {
		tb.Fatal(err)
	}
	for _, change := range change {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if i.Service, err = service.New(ctx, cfg); err != nil {
		cancel()
		tb.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- i.Run(ctx) }()
	i.stop = sync.OnceValue(func() error { cancel(); return <-done })
	tb.Cleanup(func() {
		if err := i.stop(); err != nil && !errors.Is(err, i.mayFail) {
			tb.Errorf("it did not stop well: %v", err)
		}
		if found := leaks(i.log.String()); len(found) > 0 {
			tb.Errorf("the log shows %q", found)
		}
		if tb.Failed() {
			tb.Log(i.log)
		}
	})
	return i
}
