package alerting

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"lumin-ingest/internal/errtext"
	"lumin-ingest/store/alerts"
	"lumin-ingest/store/catalog"
)

const (
	// holdFactor is how many rounds a program that has died keeps others from sending.
	holdFactor = 3

	// stepTimeout bounds each part of a round. The conditions have a bound each.
	stepTimeout = 15 * time.Second

	// After maxRefused messages in a row that the webhook did not accept from it, a
	// program leaves the sending to others, and bids for it again bidAgain rounds later.
	// Until then it examines if no other program does.
	maxRefused = 3
	bidAgain   = 5

	// releaseTimeout bounds what a sender does at its end.
	releaseTimeout = time.Second
)

// Config configures a [Sender]. A field must be set unless its comment describes the
// zero value.
type Config struct {
	Settings

	Pool   *pgxpool.Pool
	Logger *slog.Logger

	// Own returns the alerts that only this program can know of, and the keys of those
	// that it knows not to hold. nil: there are none.
	Own func() (hold []alerts.Alert, over []string)

	// ReceiveOnly is for a program that only receives: it examines and sends only while
	// no program runs jobs, and then only what it has the rights for, with what others
	// have reported.
	ReceiveOnly bool

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
	limit    time.Duration // of a part of a round
	messages *prometheus.CounterVec
	holds    bool              // the sending, as far as it knows
	refused  int               // messages in a row that the webhook did not accept
	waits    int               // rounds until it bids for the sending again
	failing  map[string]string // what failed in the last round, and its error
	cancel   context.CancelFunc
	ended    chan struct{}
}

// Start starts a Sender. Without a URL it sends nothing, and examines unless another
// program does. The caller must stop it.
func Start(cfg Config) *Sender {
	cfg.Every = cmp.Or(cfg.Every, alerts.ReportEvery)
	ctx, cancel := context.WithCancel(context.Background())
	s := &Sender{
		cfg: cfg, examiner: alerts.New(cfg.Pool, cfg.Limits), limit: stepTimeout,
		failing: map[string]string{}, cancel: cancel, ended: make(chan struct{}),
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

// round reports, and examines and sends unless another program does. What is stored
// is on the dashboard, even if no program sends it.
func (s *Sender) round(ctx context.Context) {
	s.waits = max(s.waits-1, 0)
	s.step(ctx, "report this program's alerts", s.report)
	var examine func(context.Context) []alerts.Finding
	s.step(ctx, "examine alerts", func(ctx context.Context) (err error) {
		examine, err = s.turn(ctx)
		return err
	})
	if examine != nil {
		s.finish(ctx, examine(ctx))
	}
}

// finish stores what was found, and sends what is due. It has as much time as ever,
// however long the examination took.
func (s *Sender) finish(ctx context.Context, findings []alerts.Finding) {
	for _, f := range findings {
		s.note(ctx, "examine the condition "+f.Condition, f.Err)
	}
	s.step(ctx, "store alerts", func(ctx context.Context) error { return alerts.Store(ctx, s.cfg.Pool, findings) })
	if s.sends() {
		s.step(ctx, "send alerts", s.send)
	}
}

// step does a part of a round.
func (s *Sender) step(ctx context.Context, what string, do func(context.Context) error) {
	limited, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	s.note(ctx, what, do(limited))
}

// sends reports whether this program sends, if it is its turn.
func (s *Sender) sends() bool { return s.cfg.URL != "" && s.waits == 0 }

// turn makes this program the one that examines and sends, if it may be. It returns
// what it has to examine then, or nil.
func (s *Sender) turn(ctx context.Context) (examine func(context.Context) []alerts.Finding, err error) {
	examine = s.examiner.Examine
	if s.cfg.ReceiveOnly {
		works, err := catalog.Works(ctx, s.cfg.Pool)
		if err != nil {
			return nil, err
		}
		if works {
			return nil, s.release(ctx)
		}
		examine = s.examiner.ExamineReceiving
	}
	hold := alerts.Hold
	if !s.sends() {
		hold = alerts.Watch
	}
	if s.holds, err = hold(ctx, s.cfg.Pool, s.id, holdFactor*s.cfg.Every); !s.holds {
		return nil, err
	}
	return examine, nil
}

// release lets another program examine and send.
func (s *Sender) release(ctx context.Context) error {
	if !s.holds {
		return nil
	}
	err := alerts.Release(ctx, s.cfg.Pool, s.id)
	s.holds = err != nil
	return err
}

// send sends what is due. If the webhook accepts nothing from this program, another
// may reach it.
func (s *Sender) send(ctx context.Context) error {
	sent, err := alerts.Send(ctx, s.cfg.Pool, s.id, s.post)
	if sent {
		s.messages.WithLabelValues("sent").Inc()
	}
	if s.refused >= maxRefused {
		s.refused, s.waits = 0, bidAgain
		err = errors.Join(err, s.release(ctx))
	}
	return err
}

func (s *Sender) post(ctx context.Context, m alerts.Message) error {
	err := s.cfg.Post(ctx, m)
	if err != nil {
		s.refused++
		s.messages.WithLabelValues("failed").Inc()
		return err
	}
	s.refused = 0
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
	hold, over := s.cfg.Own()
	return alerts.Report(ctx, s.cfg.Pool, hold, over)
}

// note logs an error when it appears or changes, and its end.
func (s *Sender) note(ctx context.Context, what string, err error) {
	before := s.failing[what]
	switch {
	case ctx.Err() != nil: // the sender stops
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
	ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
	defer cancel()
	if err := s.release(ctx); err != nil {
		s.cfg.Logger.Debug("another program sends alerts only in some minutes", "reason", errtext.OneLine(err))
	}
}
