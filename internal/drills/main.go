//go:build unix

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/app"
	"lumin-ingest/internal/faults"
	"lumin-ingest/lumin"
	"lumin-ingest/worker"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "program" {
		program() // does not return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "drills:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "prepare":
			return prepare(ctx, args[1:])
		case "send":
			return send(ctx, args[1:])
		case "compare":
			return compare(ctx, args[1:])
		}
	}
	return errors.New("the first argument must be program, prepare, send or compare")
}

// program is lumin-ingest with a job type and the secrets of the sender.
func program() {
	os.Args = slices.Delete(os.Args, 1, 2)
	for name, value := range faults.Environment() {
		if err := os.Setenv(name, value); err != nil {
			fmt.Fprintln(os.Stderr, "drills:", err)
			os.Exit(1)
		}
	}
	app.Main(func(context.Context, app.Env) (*worker.Registry, error) {
		registry := worker.NewRegistry()
		registry.AddTx(effect{})
		return registry, nil
	})
}

// effect leaves a row for each event.
type effect struct{ worker.Defaults }

func (effect) Kind() string              { return faults.EffectKind }
func (effect) Events() []lumin.EventType { return []lumin.EventType{lumin.AnyEvent} }

func (effect) WorkTx(ctx context.Context, tx pgx.Tx, e *worker.Event) error {
	_, err := tx.Exec(ctx, `INSERT INTO faults.effects (event_key, job_kind, rerun) VALUES ($1, $2, $3)`,
		[16]byte(e.Key), faults.EffectKind, e.Rerun)
	return err
}

func prepare(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("prepare needs the URL of a migrated database")
	}
	conn, err := pgx.Connect(ctx, args[0])
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return faults.Prepare(ctx, conn)
}
