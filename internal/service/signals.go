package service

import (
	"os"
	"os/signal"
	"syscall"
)

// signals are the signals that the service handles itself. A nil channel never
// delivers one.
type signals struct {
	// stop gets the stop signals while they may end the drain delay. The first
	// one has also ended the context of Run.
	stop chan os.Signal

	// hangup gets SIGHUP: read the secrets again.
	hangup chan os.Signal
}

func handleSignals(cfg Config) (s signals) {
	if !cfg.HandleSignals {
		return s
	}
	s.hangup = make(chan os.Signal, 1)
	signal.Notify(s.hangup, syscall.SIGHUP)
	if cfg.Ingest && cfg.DrainDelay > 0 {
		s.stop = make(chan os.Signal, 2)
		signal.Notify(s.stop, os.Interrupt, syscall.SIGTERM)
	}
	return s
}

// releaseStop makes the next stop signal end the program at once.
func (s signals) releaseStop() {
	if s.stop != nil {
		signal.Stop(s.stop)
	}
}

func (s signals) releaseHangup() {
	if s.hangup != nil {
		signal.Stop(s.hangup)
	}
}
