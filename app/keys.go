package app

import (
	"cmp"
	"context"
	"slices"
	"time"

	apiclient "lumin-ingest/admin/api/client"
	"lumin-ingest/admin/window"
	"lumin-ingest/lumin"
)

type keysCommand struct {
	listSettings
	sourceSettings
}

// keyLine is one key of one source.
type keyLine struct {
	Configured *bool      `json:"configured"` // null if no secret of the source is configured here, or at the server
	Source     string     `json:"source"`
	KeyID      string     `json:"key_id"`
	FirstAt    *time.Time `json:"first_used_at"`
	LastAt     *time.Time `json:"last_used_at"`
}

func (c *keysCommand) Run(ctx context.Context, std streams) error {
	where := "at the server"
	configured := map[string][]string{} // keys by source
	if !c.remote() {
		where = "here"
		keyrings, err := c.anyKeyrings()
		if err != nil {
			return err
		}
		for source, keyring := range keyrings {
			configured[source] = keyring.KeyIDs()
		}
	}
	return list(ctx, std, c.listSettings, keyListing(where), func(w operatorWindow) ([]keyLine, error) {
		if server, ok := w.(*apiclient.Client); ok {
			sources, err := server.Sources(ctx)
			if err != nil {
				return nil, err
			}
			for _, s := range sources {
				configured[s.Source] = s.KeyIDs
			}
		}
		uses, err := w.Keys(ctx)
		if err != nil {
			return nil, err
		}
		return keyLines(configured, uses), nil
	})
}

// keyListing describes the list. where says in which environment keys are configured.
func keyListing(where string) listing[keyLine] {
	return listing[keyLine]{
		empty:    "no keys: none is configured " + where + ", and no event is stored",
		headings: []string{"SOURCE", "KEY", "CONFIGURED", "FIRST USED", "LAST USED"},
		cells: func(key keyLine) []string {
			configured, first, last := "not configured "+where, "never", "never"
			switch {
			case key.Configured != nil && *key.Configured:
				configured = "yes"
			case key.Configured != nil:
				configured = "no longer"
			}
			if key.FirstAt != nil {
				first, last = timeCell(key.FirstAt), timeCell(key.LastAt)
			}
			return []string{key.Source, key.KeyID, configured, first, last}
		},
	}
}

// anyKeyrings returns the keyrings of the configured sources. There may be
// none: operators also inspect a database from environments without secrets.
func (s sourceSettings) anyKeyrings() (map[string]*lumin.Keyring, error) {
	secrets, err := s.secrets()
	if err != nil || len(secrets) == 0 {
		return nil, err
	}
	return s.keyrings()
}

// keyLines merges the configured and the used keys. They are sorted by source,
// and the most recently used key comes first. If the environment has no secret
// of a source, it is unknown whether the keys of that source are still
// configured.
func keyLines(configured map[string][]string, uses []window.KeyUse) []keyLine {
	var keys []keyLine
	for _, use := range uses {
		first, last := use.FirstAt.UTC(), use.LastAt.UTC()
		line := keyLine{Source: use.Source, KeyID: use.KeyID, FirstAt: &first, LastAt: &last}
		if ids, known := configured[use.Source]; known {
			line.Configured = new(slices.Contains(ids, use.KeyID))
		}
		keys = append(keys, line)
	}
	for source, ids := range configured {
		for _, id := range ids {
			if !slices.ContainsFunc(keys, func(k keyLine) bool { return k.Source == source && k.KeyID == id }) {
				keys = append(keys, keyLine{Source: source, KeyID: id, Configured: new(true)})
			}
		}
	}
	lastUse := func(k keyLine) time.Time {
		if k.LastAt == nil {
			return time.Time{}
		}
		return *k.LastAt
	}
	slices.SortFunc(keys, func(a, b keyLine) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), lastUse(b).Compare(lastUse(a)), cmp.Compare(a.KeyID, b.KeyID))
	})
	return keys
}
