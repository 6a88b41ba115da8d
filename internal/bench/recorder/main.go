// Command recorder is the program's Recorder alone: callers in this process
// record deliveries, without HTTP and signatures.
//
// The benchmark builds the same source against an older commit, too. It
// therefore uses only what both commits have, and no internal package besides
// the load.
//
// The environment configures it: DATABASE_URL and LISTEN_ADDR. Each POST to
// [load.CallersPath] is one load.
package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"lumin-ingest/internal/bench/load"
	"lumin-ingest/internal/pgopen"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// connections is the size of the pool that the program uses for recording.
const connections = 8

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "recorder:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	pool, err := pgopen.Pool(ctx, os.Getenv("DATABASE_URL"), pgopen.Options{MaxConns: connections, Writes: true, NoticeSilence: true})
	if err != nil {
		return err
	}
	defer pool.Close()
	logger := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	opened, err := store.New(pool, logger)
	if err != nil {
		return err
	}
	recorder := store.NewRecorder(opened, logger, nil)
	defer recorder.Close()
	mux := http.NewServeMux()
	mux.Handle("POST "+load.CallersPath, load.Callers(func(ctx context.Context, body []byte) error {
		return record(ctx, recorder, body)
	}))
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := pool.Ping(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	server := &http.Server{Addr: os.Getenv("LISTEN_ADDR"), Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	return server.ListenAndServe()
}

// record records one delivery, with the job that the program gives it by
// default.
func record(ctx context.Context, recorder *store.Recorder, body []byte) error {
	envelope, err := lumin.DecodeEnvelope(body)
	if err != nil {
		return err
	}
	_, err = recorder.Record(ctx, store.Delivery{
		Source: store.AccountSource, Envelope: &envelope, Payload: body, Signature: make([]byte, sha256.Size),
		KeyID: "0123456789abcdef", ReceivedAt: time.Now(),
		Jobs: []store.JobSpec{{Kind: "signature_request_state", Queue: "signature_request_state", MaxAttempts: 15, Priority: 1}},
	})
	return err
}
