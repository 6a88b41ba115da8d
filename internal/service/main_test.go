package service

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/sample"
	"lumin-ingest/internal/testlog"
	"lumin-ingest/internal/wait"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/worker"
)

// Package app tests the whole program. The tests here need unexported parts of
// a service.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("lumin-ingest/internal/pgdev.(*run).watch"), // of the server that all tests share
		goleak.Cleanup(func(int) { http.DefaultClient.CloseIdleConnections() }))
}

const (
	accountKey = "canary_account_key"
	newKey     = "canary_account_key_2"
)

// counted is a job type that does nothing.
type counted struct {
	worker.Defaults
	kind string
}

func (c counted) Kind() string                                      { return c.kind }
func (counted) Events() []lumin.EventType                           { return []lumin.EventType{lumin.AnyEvent} }
func (counted) WorkTx(context.Context, pgx.Tx, *worker.Event) error { return nil }

// testService is a running service.
type testService struct {
	*Service
	log  *testlog.Buffer
	stop func() error // and waits; may be called again

	mayFail error // the error that stop may return; nil: none
}

// startService starts a service. It stops with the test, must stop without an
// error, and must not have logged a key.
func startService(tb testing.TB, url string, change func(*Config)) *testService {
	tb.Helper()
	s := &testService{log: &testlog.Buffer{}}
	keyring, err := lumin.NewKeyring(accountKey)
	if err != nil {
		tb.Fatal(err)
	}
	registry := worker.NewRegistry()
	for _, kind := range []string{"book_invoice", "count_effects", "signature_request_state"} {
		registry.AddTx(counted{kind: kind})
	}
	cfg := Config{
		Logger:      slog.New(slog.NewJSONHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		DatabaseURL: url, JobsDB: pgtest.Pool(tb, url), Registry: registry, Admin: Address{HostPort: "127.0.0.1:0"},
		Ingest: true, Public: Address{HostPort: "127.0.0.1:0"}, Sources: map[string]*lumin.Keyring{store.AccountSource: keyring},
		Work: true, MaxWorkers: 8,
	}
	change(&cfg)
	ctx, cancel := context.WithCancel(context.Background())
	if s.Service, err = New(ctx, cfg); err != nil {
		cancel()
		tb.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	s.stop = sync.OnceValue(func() error { cancel(); return <-done })
	tb.Cleanup(func() {
		if err := s.stop(); err != nil && !errors.Is(err, s.mayFail) {
			tb.Errorf("it stopped with an error: %v", err)
		}
		if strings.Contains(s.log.String(), accountKey) {
			tb.Error("the log shows a key")
		}
		if tb.Failed() {
			tb.Log(s.log)
		}
	})
	return s
}

func (s *testService) waitReady(tb testing.TB) {
	tb.Helper()
	wait.Within(tb, 60*time.Second, "/readyz answers 200", func() bool {
		response, err := http.Get("http://" + s.AdminAddr() + "/readyz")
		if err != nil {
			return false
		}
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
}

// deliver delivers an event that is signed with a key, and returns the status.
func (s *testService) deliver(tb testing.TB, key string) int {
	tb.Helper()
	body := sample.Delivery{EventType: lumin.SignatureRequestSigned}.Body()
	request, err := http.NewRequest(http.MethodPost, "http://"+s.PublicAddr()+"/webhooks/account", bytes.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	request.Header.Set(lumin.SignatureHeader, lumin.Sign(body, key))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		tb.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	response.Body.Close()
	return response.StatusCode
}

// wantNumber compares the only value of a query.
func wantNumber(tb testing.TB, conn *pgx.Conn, want int, sql string, args ...any) {
	tb.Helper()
	if got := pgtest.Value[int](tb, conn, sql, args...); got != want {
		tb.Errorf("%s: %d, want %d", sql, got, want)
	}
}
