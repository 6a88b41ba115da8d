package pages

import (
	"cmp"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"lumin-ingest/store/audit"
)

// SourceLine is what the program knows about one source that it receives.
type SourceLine struct {
	Source          string
	LastVerified    time.Time // zero: no verified delivery is known
	MismatchesSince int64     // signature mismatches after LastVerified
	KeyIDs          []string  // fingerprints of its secrets
}

// sourceData is one source.
type sourceData struct {
	SourceLine
	Received bool // this program receives it
	Keys     []keyData
}

// keyData is one key of a source.
type keyData struct {
	ID            string
	Configured    bool
	First, Last   *time.Time // nil: no stored event was signed with it
	SignedNewest  bool       // it signed the newest stored event of the source
	NotConfigured bool       // the program receives the source, and has no such key
}

// sources shows the sources and their keys.
func (p *Pages) sources(c echo.Context) error {
	uses, err := audit.KeysUsed(c.Request().Context(), p.cfg.Store.Pool())
	if err != nil {
		return err
	}
	var lines []SourceLine
	if p.cfg.Sources != nil {
		lines = p.cfg.Sources()
	}
	return p.show(c, "sources", view{
		Title: "Sources", Section: "/sources", Data: mergeSources(lines, uses),
		Lead: "Keys are shown by the fingerprint of their secret. The secret itself is never shown.",
	})
}

// mergeSources puts what the program has and what the database has together.
func mergeSources(lines []SourceLine, uses []audit.KeyUse) (all []sourceData) {
	of := func(source string) *sourceData {
		i := slices.IndexFunc(all, func(s sourceData) bool { return s.Source == source })
		if i < 0 {
			all = append(all, sourceData{SourceLine: SourceLine{Source: source}})
			i = len(all) - 1
		}
		return &all[i]
	}
	for _, line := range lines {
		s := of(line.Source)
		s.SourceLine, s.Received = line, true
		for _, id := range line.KeyIDs {
			s.Keys = append(s.Keys, keyData{ID: id, Configured: true})
		}
	}
	for _, use := range uses {
		s := of(use.Source)
		i := slices.IndexFunc(s.Keys, func(k keyData) bool { return k.ID == use.KeyID })
		if i < 0 {
			s.Keys = append(s.Keys, keyData{ID: use.KeyID, NotConfigured: s.Received})
			i = len(s.Keys) - 1
		}
		s.Keys[i].First, s.Keys[i].Last = &use.FirstAt, &use.LastAt
		if use.LastAt.After(s.LastVerified) {
			s.LastVerified = use.LastAt
		}
	}
	for i := range all {
		all[i].sortKeys()
	}
	slices.SortFunc(all, func(a, b sourceData) int { return cmp.Compare(a.Source, b.Source) })
	return all
}

// sortKeys puts the key that signed last first.
func (s *sourceData) sortKeys() {
	last := func(k keyData) time.Time {
		if k.Last == nil {
			return time.Time{}
		}
		return *k.Last
	}
	slices.SortStableFunc(s.Keys, func(a, b keyData) int { return last(b).Compare(last(a)) })
	if len(s.Keys) > 0 {
		s.Keys[0].SignedNewest = s.Keys[0].Last != nil
	}
}
