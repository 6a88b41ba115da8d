package ingest

import (
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// When mismatches are worth an alarm. One wrong signature may be anybody's; ten
// of them with nothing right in between look like a key rotated at Lumin.
const (
	alarmAfter = 10
	alarmEvery = 10 * time.Minute
)

// SourceStatus says whether what arrives for a source can be verified. A key
// that was replaced at Lumin and not here shows as mismatches that only grow.
type SourceStatus struct {
	Source          string
	LastVerified    time.Time // zero: none since start
	MismatchesSince int64     // signature mismatches after LastVerified
}

// Sources returns the status of each source, sorted by name.
func (h *Handler) Sources() []SourceStatus {
	var statuses []SourceStatus
	for _, s := range h.sortedSources() {
		statuses = append(statuses, s.status())
	}
	return statuses
}

func (h *Handler) sortedSources() []*source {
	var sources []*source
	for _, name := range slices.Sorted(maps.Keys(h.sources)) {
		sources = append(sources, h.sources[name])
	}
	return sources
}

// source is one webhook set up at Lumin.
type source struct {
	name    string
	keyring *lumin.Keyring
	logger  *slog.Logger

	mu           sync.Mutex
	lastVerified time.Time
	mismatches   int64     // since lastVerified
	alarmed      bool      // since lastVerified
	alarmedAt    time.Time // ever
}

// verify checks the signature and keeps count of how that goes.
func (s *source) verify(body []byte, header http.Header, now time.Time) (lumin.Match, error) {
	match, err := s.keyring.Verify(body, header)
	switch {
	case err == nil:
		s.countVerified(now)
	case errors.Is(err, lumin.ErrSignatureMismatch):
		s.countMismatch(now)
	}
	return match, err
}

func (s *source) countVerified(now time.Time) {
	s.mu.Lock()
	mismatches, alarmed := s.mismatches, s.alarmed
	s.mismatches, s.alarmed = 0, false
	if now.After(s.lastVerified) {
		s.lastVerified = now
	}
	s.mu.Unlock()

	if alarmed {
		s.logger.Info("signatures match again", "source", s.name, "mismatches", mismatches)
	}
}

func (s *source) countMismatch(now time.Time) {
	s.mu.Lock()
	s.mismatches++
	mismatches, lastVerified := s.mismatches, s.lastVerified
	alarm := mismatches >= alarmAfter && (s.alarmedAt.IsZero() || now.Sub(s.alarmedAt) >= alarmEvery)
	if alarm {
		s.alarmed, s.alarmedAt = true, now
	}
	s.mu.Unlock()

	if !alarm {
		return
	}
	last := "never since start"
	if !lastVerified.IsZero() {
		last = lastVerified.UTC().Format(time.RFC3339)
	}
	s.logger.Error("signatures do not match any configured key: was the key rotated at Lumin?",
		"source", s.name, "mismatches", mismatches, "last_verified", last, "key_ids", s.keyring.KeyIDs(), "remedy", s.remedy())
}

func (s *source) remedy() string {
	setting := "LUMIN_APP_SECRETS"
	if s.name == store.AccountSource {
		setting = "LUMIN_ACCOUNT_API_KEYS"
	}
	return "if the key is new at Lumin, add it to " + setting + " beside the old one and restart; " +
		"Lumin repeats what was refused for 30 h 20 min. If Lumin's own deliveries are fine, somebody else is sending these."
}

func (s *source) status() SourceStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return SourceStatus{Source: s.name, LastVerified: s.lastVerified, MismatchesSince: s.mismatches}
}
