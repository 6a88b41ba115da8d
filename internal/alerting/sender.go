package alerting

import (
	"cmp"
	"context"
	"crypto/rand"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"lumin-ingest/internal/errtext"
	"lumin-ingest/store/alerts"
)

const (
	// holdFactor is how many rounds a program that has died keeps others from sending.
	holdFactor = 3

	// roundTimeout bounds one round. Nothing in it takes nearly as long.
	roundTimeout = time.Minute

	// releaseTimeout bounds what a sender does at its end.
	releaseTimeout = time.Second
)

// Config configures a [Sender]. A field must be set unless its comment describes the
// zero value.
type Config struct {
	Settings

	Pool   *pgxpool.Pool
	Logger *slog.Logger

	// Own returns the alerts that only this program can know of. nil: there are none.
	Own func(context.Context) ([]alerts.Alert, error)

	// Every is the time between two rounds. 0 means [alerts.ReportEvery].
	Every time.Duration

	// Registerer gets the metric. nil: it is not registered.
	Registerer prometheus.Registerer
}

// Sender examines and sends, in rounds.
type Sender struct {
	cfg      Config
	id       [16]byte // of this program
	examiner *alerts.Examiner
	messages *prometheus.CounterVec
	failing  map[string]string // what failed in the last round, and its error
	cancel   context.CancelFunc
	ended    chan struct{}
}

// Start starts a Sender. Without a URL it only reports what Own returns. The caller
// must stop it.
func Start(cfg Config) *Sender {
	cfg.Every = cmp.Or(cfg.Every, alerts.ReportEvery)
	ctx, cancel := context.WithCancel(context.Background())
	s := &Sender{
		cfg: cfg, examiner: alerts.New(cfg.Pool, cfg.Limits), failing: map[string]string{}, cancel: cancel, ended: make(chan struct{}),
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lumin_alert_messages_total",
			Help: "Messages to ALERT_WEBHOOK_URL, by outcome: sent or failed.",
		}, []string{"outcome"}),
	}
	_, _ = rand.Read(s.id[:]) // never fails
	if cfg.Registerer != nil && cfg.URL != "" {
		for _, outcome := range []string{"sent", "failed"} {
			s.messages.WithLabelValues(outcome)
		}
		cfg.Registerer.MustRegister(s.messages)
	}
	go s.run(ctx)
	return s
}

func (s *Sender) run(ctx context.Context) {
	defer close(s.ended)
	tick := time.NewTicker(s.cfg.Every)
	defer tick.Stop()
	for {
		s.round(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// round reports, and examines and sends unless another program does.
func (s *Sender) round(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	s.note(ctx, "report this program's alerts", s.report(ctx))
	if s.cfg.URL == "" {
		return
	}
	held, err := alerts.Hold(ctx, s.cfg.Pool, s.id, holdFactor*s.cfg.Every)
	s.note(ctx, "examine alerts", err)
	if !held {
		return
	}
	findings := s.examiner.Examine(ctx)
	for _, f := range findings {
		s.note(ctx, "examine the condition "+f.Condition, f.Err)
	}
	s.note(ctx, "store alerts", alerts.Store(ctx, s.cfg.Pool, findings))
	sent, err := alerts.Send(ctx, s.cfg.Pool, s.id, s.post)
	s.note(ctx, "send alerts", err)
	if sent {
		s.messages.WithLabelValues("sent").Inc()
	}
}

func (s *Sender) post(ctx context.Context, m alerts.Message) error {
	err := s.cfg.Post(ctx, m)
	if err != nil {
		s.messages.WithLabelValues("failed").Inc()
		return err
	}
	s.cfg.Logger.Info("sent alerts", "raised", keys(m.Raised), "resolved", keys(m.Resolved))
	return nil
}

func keys(list []alerts.Open) []string {
	keys := make([]string, len(list))
	for i, a := range list {
		keys[i] = a.Key
	}
	return keys
}

func (s *Sender) report(ctx context.Context) error {
	if s.cfg.Own == nil {
		return nil
	}
	own, err := s.cfg.Own(ctx)
	if err != nil {
		return err
	}
	return alerts.Report(ctx, s.cfg.Pool, own)
}

// note logs an error when it appears or changes, and its end.
func (s *Sender) note(ctx context.Context, what string, err error) {
	before := s.failing[what]
	switch {
	case ctx.Err() != nil: // the sender stops, or the whole round took too long
	case err == nil:
		delete(s.failing, what)
		if before != "" {
			s.cfg.Logger.Info("works again: " + what)
		}
	default:
		text := errtext.OneLine(err)
		s.failing[what] = text
		if text != before {
			s.cfg.Logger.Warn("cannot "+what+"; the program goes on", "error", text)
		}
	}
}

// Stop ends the Sender within a second or two, and lets another program take over.
func (s *Sender) Stop() {
	s.cancel()
	<-s.ended
	if s.cfg.URL == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
	defer cancel()
	if err := alerts.Release(ctx, s.cfg.Pool, s.id); err != nil {
		s.cfg.Logger.Debug("another program sends alerts only in some minutes", "reason", errtext.OneLine(err))
	}
}
