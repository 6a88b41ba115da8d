package textbook

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/labstack/echo/v4"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"lumin-ingest/internal/bench/load"
	"lumin-ingest/lumin"
)

// Values of the reference's own settings. They are chosen in its favor.
const (
	// jobs is the number of jobs at once. More gave no more on two cores.
	jobs = 32
	// fetchCooldown allows 3,200 jobs a second. River's default of 100 ms would
	// limit the reference to 320.
	fetchCooldown = 10 * time.Millisecond
)

//go:embed schema.sql
var schema string

// Migrate creates the tables of the reference and of River.
func Migrate(ctx context.Context, databaseURL string) error {
	pool, err := pgxpool.New(ctx, databaseURL)
	if err != nil {
		return fmt.Errorf("textbook: %w", err)
	}
	defer pool.Close()
	if _, err := pool.Exec(ctx, schema); err != nil {
		return fmt.Errorf("textbook: create the tables: %w", err)
	}
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return fmt.Errorf("textbook: %w", err)
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return fmt.Errorf("textbook: create River's tables: %w", err)
	}
	return nil
}

// server is the running reference.
type server struct {
	pool    *pgxpool.Pool
	river   *river.Client[pgx.Tx]
	keyring *lumin.Keyring
}

// Main runs the reference until ctx ends.
func Main(ctx context.Context) error {
	config, err := pgxpool.ParseConfig(os.Getenv("DATABASE_URL"))
	if err != nil {
		return fmt.Errorf("textbook: %w", err)
	}
	connections, err := strconv.ParseInt(os.Getenv("CONNECTIONS"), 10, 32)
	if err != nil {
		return fmt.Errorf("textbook: CONNECTIONS: %w", err)
	}
	config.MaxConns = int32(connections)
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("textbook: %w", err)
	}
	defer pool.Close()
	s := &server{pool: pool}
	if s.keyring, err = lumin.NewKeyring(os.Getenv("SECRET")); err != nil {
		return fmt.Errorf("textbook: %w", err)
	}
	role := os.Getenv("ROLE")
	if s.river, err = newClient(pool, role, os.Getenv("EFFECT")); err != nil {
		return fmt.Errorf("textbook: %w", err)
	}
	if role != "ingest" {
		if err := s.river.Start(context.WithoutCancel(ctx)); err != nil {
			return fmt.Errorf("textbook: start River: %w", err)
		}
		defer func() {
			stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			_ = s.river.Stop(stopping)
		}()
	}
	return s.serve(ctx, os.Getenv("LISTEN_ADDR"))
}

func newClient(pool *pgxpool.Pool, role, effect string) (*river.Client[pgx.Tx], error) {
	config := &river.Config{Logger: slog.New(slog.DiscardHandler)}
	if role != "ingest" {
		config.Workers = river.NewWorkers()
		river.AddWorker(config.Workers, &worker{pool: pool, effect: effect})
		config.Queues = map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: jobs}}
		config.FetchCooldown = fetchCooldown
	}
	return river.NewClient(riverpgxv5.New(pool), config)
}

func (s *server) serve(ctx context.Context, address string) error {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.POST("/webhooks/account", s.receive)
	e.POST(load.CallersPath, echo.WrapHandler(load.Callers(s.call)))
	e.GET("/readyz", func(c echo.Context) error {
		if err := s.pool.Ping(c.Request().Context()); err != nil {
			return err
		}
		return c.NoContent(http.StatusOK)
	})
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("textbook: %w", err)
	}
	web := &http.Server{Handler: e, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = web.Shutdown(context.WithoutCancel(ctx)) })
	defer stop()
	if err := web.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("textbook: %w", err)
	}
	return nil
}
