package browser_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/admin/access"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/sample"
	"lumin-ingest/internal/service"
	"lumin-ingest/internal/testlog"
	"lumin-ingest/internal/wait"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/worker"
)

// dashboard is a running program with its dashboard.
type dashboard struct {
	testing.TB
	url   string // of the dashboard
	token string // with the role erase
	fixed *atomic.Bool
	goOn  chan struct{} // closed: invoices are booked
	pool  *pgxpool.Pool
	hook  string // where deliveries go
}

// newDashboard starts the program on a database of its own.
func newDashboard(tb testing.TB) *dashboard {
	tb.Helper()
	d := &dashboard{TB: tb, fixed: new(atomic.Bool), goOn: make(chan struct{})}
	url, log := pgtest.New(tb), &testlog.Buffer{}
	keyring, err := lumin.NewKeyring(sample.AccountKey)
	if err != nil {
		tb.Fatal(err)
	}
	secret, token := access.NewToken("ann", access.Erase)
	registry := worker.NewRegistry()
	registry.AddTx(bookInvoice{fixed: d.fixed, goOn: d.goOn})
	registry.AddTx(note{})
	registry.AddTx(callCRM{})
	registry.AddOrdered(keepLedger{})
	ctx, cancel := context.WithCancel(context.Background())
	s, err := service.New(ctx, service.Config{
		Logger: slog.New(slog.NewJSONHandler(log, nil)), DatabaseURL: url, JobsDB: pgtest.Pool(tb, url), Registry: registry,
		Admin: service.Address{HostPort: "127.0.0.1:0"}, AdminTokens: []access.Token{token}, Public: service.Address{HostPort: "127.0.0.1:0"},
		AdminHosts: []string{"127.0.0.1"}, MaxEventAge: 30 * 24 * time.Hour, StoreLate: true,
		Ingest: true, Sources: map[string]*lumin.Keyring{store.AccountSource: keyring}, Work: true, MaxWorkers: 4,
	})
	if err != nil {
		cancel()
		tb.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Error(err)
		}
		if tb.Failed() {
			tb.Log(log)
		}
	})
	wait.Until(tb, "the program works", func() bool { return s.Working(tb.Context()) })
	d.hook, d.url, d.token = "http://"+s.PublicAddr()+"/webhooks/account", "http://"+s.AdminAddr(), secret
	d.pool = pgtest.Pool(tb, url)
	return d
}

// deliver delivers an event, and again if copies is 2.
func (d *dashboard) deliver(body []byte, copies int) {
	d.Helper()
	for range copies {
		d.send(body, sample.AccountKey, http.StatusOK)
	}
}

// send sends a body with the signature of a key, and wants an answer.
func (d *dashboard) send(body []byte, key string, want int) {
	d.Helper()
	request, err := http.NewRequestWithContext(d.Context(), http.MethodPost, d.hook, bytes.NewReader(body))
	if err != nil {
		d.Fatal(err)
	}
	request.Header.Set(lumin.SignatureHeader, lumin.Sign(body, key))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		d.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != want {
		d.Fatalf("a delivery was answered %d, want %d", response.StatusCode, want)
	}
}

// fill delivers the life of a few signature requests. Their approved events fail. It
// returns the id of the last one.
func (d *dashboard) fill(requests int) (id string) {
	d.Helper()
	start := time.Now().Add(-time.Hour)
	for n := range requests {
		id = sample.RandomHex(20)
		for i, t := range []lumin.EventType{lumin.SignatureRequestCreated, lumin.SignatureRequestViewed, lumin.SignatureRequestSigned, lumin.SignatureRequestApproved} {
			at := start.Add(time.Duration(n*10+i) * time.Second)
			d.deliver(sample.Delivery{EventType: t, SignatureRequestID: id, At: at}.Body(), 1+i%2)
		}
	}
	wait.Until(d, "the invoices have failed", func() bool {
		return pgtest.Value[int](d, d.pool, `SELECT count(*)::int FROM lumin.runs WHERE state = 'failed'`) == requests
	})
	return id
}

// chromium is the path of the browser. The test is skipped if it was not asked for,
// and fails without a browser.
func chromium(tb testing.TB) string {
	tb.Helper()
	if os.Getenv("LUMIN_TEST_BROWSER") == "" {
		tb.Skip("LUMIN_TEST_BROWSER is not set: make test-browser sets it")
	}
	for _, name := range []string{os.Getenv("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil && name != "" {
			return found
		}
	}
	tb.Fatal("no Chromium is installed: install the package chromium, or set CHROMIUM to its path")
	return ""
}

// pictures is the folder for pictures of pages.
func pictures(tb testing.TB) string {
	tb.Helper()
	folder := os.Getenv("LUMIN_TEST_BROWSER")
	if !strings.HasPrefix(folder, "/") {
		folder = tb.TempDir()
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		tb.Fatal(err)
	}
	return folder
}
