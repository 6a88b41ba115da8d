package service

import (
	"context"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lumin-ingest/ingest"
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

// A program that receives reports a rotated key, and a program that works sends it.
func TestRotatedKeyIsSent(t *testing.T) {
	t.Parallel()
	webhook, messages := newWebhook(t)
	url := pgtest.New(t)
	every := 100 * time.Millisecond
	receiving := startService(t, url, func(cfg *Config) { cfg.Work, cfg.alertsEvery = false, every })
	receiving.waitReady(t)
	for range mismatchesOfRotation {
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
	if !strings.HasPrefix(message, "test: 1 alert\n• signatures of source account match no configured key (deliveries refused in a row: 10, the last good one: never)") {
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

// A rotated key is no longer reported when any program has recorded an event since.
func TestMismatches(t *testing.T) {
	t.Parallel()
	now := time.Now()
	count, last := int64(0), time.Time{}
	m := mismatches{
		growth: map[string]growth{},
		sources: func() []ingest.SourceStatus {
			return []ingest.SourceStatus{{Source: "account", MismatchesSince: count}}
		},
		lastEvents: func(context.Context) (map[string]time.Time, error) { return map[string]time.Time{"account": last}, nil },
	}
	look := func(after time.Duration, want int) {
		t.Helper()
		found, err := m.alerts(t.Context(), now.Add(after))
		if err != nil || len(found) != want {
			t.Errorf("after %s: %v, %v, want %d", after, found, err, want)
		}
	}
	count = 9
	look(0, 0)
	count = 10
	look(time.Minute, 1)
	look(time.Hour, 1)
	last = now.Add(2 * time.Hour) // another program got a good one
	look(3*time.Hour, 0)
	count = 11
	look(4*time.Hour, 1)
	count = 0
	look(5*time.Hour, 0)
}

func TestCertificateAlert(t *testing.T) {
	t.Parallel()
	s := &Service{}
	if found := s.certificateAlerts(time.Now()); found != nil {
		t.Errorf("without a certificate: %v", found)
	}
	pair := testcert.New(t, time.Now().Add(8*24*time.Hour)).Certificate(t)
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	pair.Leaf = leaf
	s.certificate = &certificate{}
	s.certificate.inUse.Store(&pair)
	if found := s.certificateAlerts(time.Now()); found != nil {
		t.Errorf("%v", found)
	}
	found := s.certificateAlerts(time.Now().Add(2 * 24 * time.Hour))
	if len(found) != 1 || found[0].Condition() != alerts.Certificate || !strings.Contains(found[0].Text, "renew it") {
		t.Errorf("%v", found)
	}
}
