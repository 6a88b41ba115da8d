package service

import (
	"context"
	"fmt"
	"os"
	"time"

	"lumin-ingest/ingest"
	"lumin-ingest/internal/alerting"
	"lumin-ingest/store/alerts"
	"lumin-ingest/store/audit"
)

// mismatchesOfRotation is the number of mismatched signatures, without a valid one
// between them, that suggests a rotated key. A single one can come from anyone.
const mismatchesOfRotation = 10

// startAlerts starts what reports, examines and sends.
func (s *Service) startAlerts() *alerting.Sender {
	cfg := alerting.Config{Settings: s.cfg.Alerts, Pool: s.store.Pool(), Logger: s.cfg.Logger, Registerer: s.registry, Every: s.cfg.alertsEvery,
		ReceiveOnly: !s.cfg.Work}
	if s.handler != nil {
		known := mismatches{sources: s.handler.Sources, lastEvents: s.lastEvents, growth: map[string]growth{}}
		cfg.Own = func(ctx context.Context) ([]alerts.Alert, error) {
			own, err := known.alerts(ctx, time.Now())
			return append(own, s.certificateAlerts(time.Now())...), err
		}
	}
	return alerting.Start(cfg)
}

// certificateAlerts returns an alert if callers may refuse the certificate soon.
func (s *Service) certificateAlerts(now time.Time) []alerts.Alert {
	if s.certificate == nil {
		return nil
	}
	warning := s.certificate.warning(now)
	if warning == "" {
		return nil
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return []alerts.Alert{{Key: alerts.Certificate + "/" + host, Text: fmt.Sprintf("on host %s: %s", host, warning), Page: "/sources"}}
}

// lastEvents returns when each source last had a new event, from any program.
func (s *Service) lastEvents(ctx context.Context) (map[string]time.Time, error) {
	uses, err := audit.KeysUsed(ctx, s.store.Pool())
	last := map[string]time.Time{}
	for _, use := range uses {
		if use.LastAt.After(last[use.Source]) {
			last[use.Source] = use.LastAt
		}
	}
	return last, err
}

// mismatches finds sources whose signatures do not match.
type mismatches struct {
	sources    func() []ingest.SourceStatus
	lastEvents func(context.Context) (map[string]time.Time, error)
	growth     map[string]growth // by source
}

// growth is when a count of mismatches was last seen to grow.
type growth struct {
	count int64
	at    time.Time
}

// alerts returns an alert for each source with many mismatches, unless another
// program has recorded an event of that source since.
func (m *mismatches) alerts(ctx context.Context, now time.Time) (found []alerts.Alert, err error) {
	var last map[string]time.Time
	for _, status := range m.sources() {
		g := m.growth[status.Source]
		if status.MismatchesSince != g.count {
			g = growth{count: status.MismatchesSince, at: now}
			m.growth[status.Source] = g
		}
		if status.MismatchesSince < mismatchesOfRotation {
			continue
		}
		if last == nil {
			if last, err = m.lastEvents(ctx); err != nil {
				return nil, err
			}
		}
		if !last[status.Source].After(g.at) {
			found = append(found, mismatchAlert(status))
		}
	}
	return found, nil
}

func mismatchAlert(status ingest.SourceStatus) alerts.Alert {
	last := "never"
	if !status.LastVerified.IsZero() {
		last = status.LastVerified.UTC().Format("2006-01-02 15:04 UTC")
	}
	return alerts.Alert{
		Key: alerts.Mismatch + "/" + status.Source,
		Text: fmt.Sprintf("signatures of source %s match no configured key (deliveries refused in a row: %d, the last good one: %s). "+
			"If the key was rotated at Lumin, add the new one: Lumin repeats refused deliveries for 30 h 20 min; if Lumin's own deliveries succeed, someone else sends these.",
			status.Source, status.MismatchesSince, last),
		Page: "/sources",
	}
}
