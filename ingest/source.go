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

// An alarm is logged after alarmAfter consecutive mismatches, at most once per
// alarmEvery. A single wrong signature can come from any caller. Ten without a
// valid one in between suggest that the key was rotated at Lumin.
const (
	alarmAfter = 10
	alarmEvery = 10 * time.Minute
)

// SourceStatus shows whether deliveries of a source can be verified. If
// MismatchesSince keeps growing, the key may have been replaced at Lumin but
// not here.
type SourceStatus struct {
	Source          string
	LastVerified    time.Time // zero: never since start, and no earlier time from SetLastVerified
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

// KeyIDs returns the fingerprints of the keys of a source, the current one first.
// There are none for an unknown source.
func (h *Handler) KeyIDs(source string) []string {
	for _, s := range h.sortedSources() {
		if s.name == source {
			return s.keyring.KeyIDs()
		}
	}
	return nil
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

// SetSources replaces the sources and their keys: see [Config]. Deliveries in
// progress are verified with the keys from before the call. If it returns an
// error, nothing has changed. Calls must not overlap.
func (h *Handler) SetSources(sources map[string]*lumin.Keyring) error {
	if err := checkSources(sources); err != nil {
		return fmt.Errorf("ingest: %w", err)
	}
	h.swapSources(sources)
	return nil
}

// SetLastVerified sets the time of the last verified delivery before this
// program started, by source name. Sources that are missing from at never had
// one. A later time that is already known is kept.
//
// Until the first call, lumin_source_last_verified_timestamp_seconds has no
// value for a source without a verified delivery since the start. An alarm
// would interpret 0 as a long silence.
func (h *Handler) SetLastVerified(at map[string]time.Time) {
	for _, s := range h.sortedSources() {
		s.recall(at[s.name])
	}
}

// swapSources replaces the sources. It keeps the tally of sources that remain,
// because new keys do not verify anything yet.
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

// source is one webhook that is set up at Lumin, with its current keys.
type source struct {
	name    string
	keyring *lumin.Keyring
	logger  *slog.Logger
	*tally
}

// tally counts the verification results of one source, across changes of its
// keys.
type tally struct {
	mu           sync.Mutex
	lastVerified time.Time
	recalled     bool      // lastVerified includes earlier programs, so zero means never
	mismatches   int64     // since lastVerified
	alarmed      bool      // an alarm was logged since lastVerified
	alarmedAt    time.Time // time of the last alarm
}

// verify checks the signature and counts the result. If line is not nil, it
// logs an alarm or the end of one.
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

// recall records the last verified delivery of earlier programs; zero if there
// was none.
func (t *tally) recall(at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.recalled = true
	if at.After(t.lastVerified) {
		t.lastVerified = at
	}
}

// lastVerifiedAt returns when a delivery was last verified, or zero if none
// ever was. It returns false while this is not known.
func (t *tally) lastVerifiedAt() (time.Time, bool) {
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
		"Lumin retries refused deliveries for 30 h 20 min. If Lumin's own deliveries succeed, someone else is sending these."
}

func (s *source) status() SourceStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return SourceStatus{Source: s.name, LastVerified: s.lastVerified, MismatchesSince: s.mismatches}
}
