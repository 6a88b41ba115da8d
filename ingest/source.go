package ingest

import (
	"errors"
	"fmt"
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
	LastVerified    time.Time // zero: none since start, nor before as far as SetLastVerified says
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
	if current := h.sources.Load(); current != nil {
		for _, name := range slices.Sorted(maps.Keys(*current)) {
			sources = append(sources, (*current)[name])
		}
	}
	return sources
}

// SetSources puts other sources, or other keys of theirs, in place of the present
// ones: see [Config]. Deliveries that have begun are verified with the keys that
// were there when they began. On an error nothing has changed. Calls must not
// overlap.
func (h *Handler) SetSources(sources map[string]*lumin.Keyring) error {
	if err := checkSources(sources); err != nil {
		return fmt.Errorf("ingest: %w", err)
	}
	h.swapSources(sources)
	return nil
}

// SetLastVerified says when each source last had a verified delivery before this
// program started, by the name of the source; those left out never had one. Until
// it is called, lumin_source_last_verified_timestamp_seconds has no value for a
// source without a delivery of its own: an alarm would take 0 for a long silence.
// A later time that is known already stays.
func (h *Handler) SetLastVerified(at map[string]time.Time) {
	for _, s := range h.sortedSources() {
		s.recall(at[s.name])
	}
}

// swapSources keeps the tally of sources that stay: new keys do not make
// anything verified.
func (h *Handler) swapSources(keyrings map[string]*lumin.Keyring) {
	tallies := map[string]*tally{}
	for _, s := range h.sortedSources() {
		tallies[s.name] = s.tally
	}
	sources := make(map[string]*source, len(keyrings))
	for name, keyring := range keyrings {
		if tallies[name] == nil {
			tallies[name] = &tally{}
		}
		sources[name] = &source{name: name, keyring: keyring, logger: h.logger, tally: tallies[name]}
		h.metrics.expect(name)
	}
	h.sources.Store(&sources)
}

func checkSources(sources map[string]*lumin.Keyring) error {
	if len(sources) == 0 {
		return errors.New("no source is configured: set LUMIN_ACCOUNT_API_KEYS or LUMIN_APP_SECRETS")
	}
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		if !store.ValidSource(name) {
			return fmt.Errorf(`source %q is neither "account" nor "app:NAME" with a NAME of 1 to 63 characters out of a-z, 0-9 and hyphen`, name)
		}
		if keyring := sources[name]; keyring == nil || len(keyring.KeyIDs()) == 0 {
			return fmt.Errorf("source %s has no secret", name)
		}
	}
	return nil
}

// source is one webhook set up at Lumin, with the keys of the moment.
type source struct {
	name    string
	keyring *lumin.Keyring
	logger  *slog.Logger
	*tally
}

// tally is how verifying goes for one source, whatever its keys.
type tally struct {
	mu           sync.Mutex
	lastVerified time.Time
	recalled     bool      // lastVerified is right, even if zero
	mismatches   int64     // since lastVerified
	alarmed      bool      // since lastVerified
	alarmedAt    time.Time // ever
}

// verify checks the signature and keeps count of how that goes. line, if it is
// not nil, logs that this has changed.
func (s *source) verify(body []byte, header http.Header, now time.Time) (match lumin.Match, line func(), err error) {
	match, err = s.keyring.Verify(body, header)
	switch {
	case err == nil:
		line = s.countVerified(now)
	case errors.Is(err, lumin.ErrSignatureMismatch):
		line = s.countMismatch(now)
	}
	return match, line, err
}

// recall notes a delivery that an earlier program has verified.
func (t *tally) recall(at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.recalled = true
	if at.After(t.lastVerified) {
		t.lastVerified = at
	}
}

// lastKnown is when a delivery was last verified; zero if none ever was. The
// result is false while that is not known.
func (t *tally) lastKnown() (time.Time, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lastVerified, t.recalled || !t.lastVerified.IsZero()
}

func (s *source) countVerified(now time.Time) (line func()) {
	s.mu.Lock()
	mismatches, alarmed := s.mismatches, s.alarmed
	s.mismatches, s.alarmed = 0, false
	if now.After(s.lastVerified) {
		s.lastVerified = now
	}
	s.mu.Unlock()

	if !alarmed {
		return nil
	}
	return func() { s.logger.Info("signatures match again", "source", s.name, "mismatches", mismatches) }
}

func (s *source) countMismatch(now time.Time) (line func()) {
	s.mu.Lock()
	s.mismatches++
	mismatches, lastVerified, recalled := s.mismatches, s.lastVerified, s.recalled
	alarm := mismatches >= alarmAfter && (s.alarmedAt.IsZero() || now.Sub(s.alarmedAt) >= alarmEvery)
	if alarm {
		s.alarmed, s.alarmedAt = true, now
	}
	s.mu.Unlock()

	if !alarm {
		return nil
	}
	last := "never since start"
	switch {
	case !lastVerified.IsZero():
		last = lastVerified.UTC().Format(time.RFC3339)
	case recalled:
		last = "never"
	}
	return func() {
		s.logger.Error("signatures do not match any configured key: was the key rotated at Lumin?",
			"source", s.name, "mismatches", mismatches, "last_verified", last, "key_ids", s.keyring.KeyIDs(), "remedy", s.remedy())
	}
}

func (s *source) remedy() string {
	setting := "LUMIN_APP_SECRETS"
	if s.name == store.AccountSource {
		setting = "LUMIN_ACCOUNT_API_KEYS"
	}
	return "if the key is new at Lumin, add it to " + setting + " beside the old one, and restart unless it is in a file; " +
		"Lumin repeats what was refused for 30 h 20 min. If Lumin's own deliveries are fine, somebody else is sending these."
}

func (s *source) status() SourceStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return SourceStatus{Source: s.name, LastVerified: s.lastVerified, MismatchesSince: s.mismatches}
}
