package monitoring

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/service"
	"lumin-ingest/internal/servicelog"
	"lumin-ingest/internal/testcert"
	"lumin-ingest/internal/wait"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/worker"
)

// ordered is an ordered job type that does nothing.
type ordered struct{ worker.Defaults }

func (ordered) Kind() string                                        { return "book_invoice" }
func (ordered) Events() []lumin.EventType                           { return []lumin.EventType{lumin.AnyEvent} }
func (ordered) WorkTx(context.Context, pgx.Tx, *worker.Event) error { return nil }

// running is the address of a running service's metrics, and what it exports.
type running struct {
	address string // host:port
	names   map[string]bool
}

// startService starts a service that has every kind of metric, and scrapes it.
func startService(t *testing.T) running {
	t.Helper()
	url := pgtest.New(t)
	keyring, err := lumin.NewKeyring("an_account_key_for_tests")
	if err != nil {
		t.Fatal(err)
	}
	registry := worker.NewRegistry()
	registry.AddOrdered(ordered{})
	certificate := testcert.New(t, time.Now().Add(time.Hour)).Certificate(t)
	queue := servicelog.NewQueue(io.Discard)
	t.Cleanup(func() { queue.Close(time.Second) })
	ctx, cancel := context.WithCancel(context.Background())
	s, err := service.New(ctx, service.Config{
		Logger: slog.New(slog.DiscardHandler), LogQueue: queue,
		DatabaseURL: url, JobsDB: pgtest.Pool(t, url), Registry: registry,
		Admin: service.Address{HostPort: "127.0.0.1:0"}, Public: service.Address{HostPort: "127.0.0.1:0"},
		ReadCertificate: func() (*tls.Certificate, error) { return &certificate, nil },
		Ingest:          true, Sources: map[string]*lumin.Keyring{store.AccountSource: keyring},
		Work: true,
	})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	var ended sync.WaitGroup
	ended.Go(func() { _ = s.Run(ctx) })
	t.Cleanup(func() { cancel(); ended.Wait() })
	r := running{address: s.AdminAddr()}
	wait.Within(t, time.Minute, "the counts of the database are there", func() bool {
		r.names = scrape(t, r.address)
		return r.names["lumin_failed_runs"] && r.names["lumin_held_lanes"] && r.names["lumin_recovered_events"] && r.names["lumin_queued_jobs"] && r.names["lumin_undownloadable_contracts"] &&
			r.names["lumin_open_replays"] && r.names["lumin_waiting_late_events"] && r.names["lumin_database_size_bytes"] && r.names["lumin_source_last_verified_timestamp_seconds"]
	})
	return r
}

// scrape returns the names of all series of a service.
func scrape(t *testing.T, address string) map[string]bool {
	t.Helper()
	response, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		return nil // not listening yet
	}
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(string(page)))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for name, family := range families {
		names[name] = true
		if family.GetType() == dto.MetricType_HISTOGRAM {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				names[name+suffix] = true
			}
		}
	}
	return names
}
