package service

import (
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lumin-ingest/internal/alerting"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/testcert"
	"lumin-ingest/internal/wait"
	"lumin-ingest/migrations"
	"lumin-ingest/store/alerts"
)

// newWebhook returns the URL of a webhook, and the messages that it gets.
func newWebhook(t *testing.T) (string, <-chan string) {
	t.Helper()
	messages := make(chan string, 10)
	webhook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		messages <- string(body)
	}))
	t.Cleanup(webhook.Close)
	return webhook.URL, messages
}

// A program that receives counts what it refuses, and a program that works sends that a
// key was rotated.
func TestRotatedKeyIsSent(t *testing.T) {
	t.Parallel()
	webhook, messages := newWebhook(t)
	url := pgtest.New(t)
	every := 100 * time.Millisecond
	receiving := startService(t, url, func(cfg *Config) { cfg.Work, cfg.alertsEvery = false, every })
	receiving.waitReady(t)
	for range 10 {
		if status := receiving.deliver(t, newKey); status != http.StatusUnauthorized {
			t.Fatal(status)
		}
	}
	working := startService(t, url, func(cfg *Config) {
		cfg.Ingest, cfg.alertsEvery = false, every
		cfg.Alerts = alerting.Settings{URL: webhook, Format: alerting.Text, Name: "test"}
	})
	var message string
	wait.Until(t, "a message arrives", func() bool {
		select {
		case message = <-messages:
			return true
		default:
			return false
		}
	})
	if !strings.HasPrefix(message, "test: 1 alert\n• signatures of source account match no configured key (deliveries refused in a row: 10, the last good one: none in 30 days)") {
		t.Error(message)
	}
	wait.Until(t, "the working program logs it", func() bool { return working.log.First("sent alerts") != nil })
	if receiving.log.First("sent alerts") != nil {
		t.Error("the receiving program has sent alerts")
	}
}

// While no program runs jobs, one that only receives sends that they wait. It ends
// when one does, which then says that it is resolved.
func TestReceiverSendsBacklog(t *testing.T) {
	t.Parallel()
	webhook, messages := newWebhook(t)
	url := pgtest.New(t)
	pgtest.UseRoles(t, url)
	conn := pgtest.Conn(t, url)
	start := func(work bool, role migrations.Role) *testService {
		login := pgtest.Login(t, url, role)
		return startService(t, login, func(cfg *Config) {
			cfg.Ingest, cfg.Work, cfg.alertsEvery, cfg.JobsDB = !work, work, 100*time.Millisecond, pgtest.Pool(t, login)
			cfg.Alerts = alerting.Settings{URL: webhook, Format: alerting.Text, Name: "test"}
		})
	}
	receiving := start(false, migrations.Ingest)
	receiving.waitReady(t)
	if status := receiving.deliver(t, accountKey); status != http.StatusOK {
		t.Fatal(status)
	}
	pgtest.Exec(t, conn, `UPDATE lumin.river_job SET scheduled_at = now() - interval '11 minutes'`)
	message := ""
	select {
	case message = <-messages:
	case <-time.After(time.Minute):
		t.Fatal("no message has arrived")
	}
	if want := "has been waiting for a worker for 11m. No program that runs jobs is running: start one."; !strings.Contains(message, want) {
		t.Errorf("%q, want %q", message, want)
	}
	holder := func() string {
		return pgtest.Value[string](t, conn, `SELECT coalesce((SELECT holder::text FROM lumin.alert_sending WHERE held_until > now()), '')`)
	}
	first := holder()
	start(true, migrations.Worker)
	wait.Until(t, "the working program takes over, and finds that the jobs are worked", func() bool {
		now := holder()
		return now != "" && now != first && pgtest.Value[bool](t, conn, `SELECT resolved_at IS NOT NULL FROM lumin.alerts WHERE condition = 'backlog'`)
	})
	if text := receiving.log.String(); strings.Contains(text, "permission denied") {
		t.Error(text)
	}
}

func TestCertificateAlert(t *testing.T) {
	t.Parallel()
	s := &Service{}
	pair := testcert.New(t, time.Now().Add(8*24*time.Hour)).Certificate(t)
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	pair.Leaf = leaf
	s.certificate = &certificate{}
	s.certificate.inUse.Store(&pair)
	hold, over := s.certificateAlerts(time.Now())
	if len(hold) != 0 || len(over) != 1 {
		t.Errorf("%v, over %q", hold, over)
	}
	hold, none := s.certificateAlerts(time.Now().Add(2 * 24 * time.Hour))
	if len(hold) != 1 || hold[0].Key != over[0] || hold[0].Condition() != alerts.Certificate || !strings.Contains(hold[0].Text, "renew it") || len(none) != 0 {
		t.Errorf("%v, over %q", hold, none)
	}
}
