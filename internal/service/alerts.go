package service

import (
	"fmt"
	"os"
	"time"

	"lumin-ingest/internal/alerting"
	"lumin-ingest/store/alerts"
)

// startAlerts starts what reports, examines and sends.
func (s *Service) startAlerts() *alerting.Sender {
	cfg := alerting.Config{Settings: s.cfg.Alerts, Pool: s.store.Pool(), Logger: s.cfg.Logger, Registerer: s.registry, Every: s.cfg.alertsEvery,
		ReceiveOnly: !s.cfg.Work}
	if s.certificate != nil {
		cfg.Own = func() ([]alerts.Alert, []string) { return s.certificateAlerts(time.Now()) }
	}
	return alerting.Start(cfg)
}

// certificateAlerts returns an alert if callers may refuse the certificate soon, and
// otherwise its key.
func (s *Service) certificateAlerts(now time.Time) (hold []alerts.Alert, over []string) {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	key := alerts.Certificate + "/" + host
	warning := s.certificate.warning(now)
	if warning == "" {
		return nil, []string{key}
	}
	return []alerts.Alert{{Key: key, Text: fmt.Sprintf("on host %s: %s", host, warning), Page: "/sources"}}, nil
}
