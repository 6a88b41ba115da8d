package app

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

type keysCommand struct {
	databaseSettings
	sourceSettings
	outputSettings
}

// keyLine is one key of one source.
type keyLine struct {
	Configured bool       `json:"configured"`
	Source     string     `json:"source"`
	KeyID      string     `json:"key_id"`
	FirstAt    *time.Time `json:"first_used_at"`
	LastAt     *time.Time `json:"last_used_at"`
}

// Run implements the command.
func (c *keysCommand) Run(ctx context.Context, std streams) error {
	var keyrings map[string]*lumin.Keyring // without secrets it shows what was used
	secrets, err := c.secrets()
	if err == nil && len(secrets) > 0 {
		keyrings, err = c.keyrings()
	}
	if err != nil {
		return err
	}
	st, closeStore, err := c.openStore(ctx)
	if err != nil {
		return err
	}
	defer closeStore()
	uses, err := st.KeyUse(ctx)
	if err != nil {
		return err
	}
	keys := keyLines(keyIDs(keyrings), uses)
	if c.Output == "json" {
		for _, key := range keys {
			if err := printJSON(std.out, key); err != nil {
				return err
			}
		}
		return nil
	}
	if len(keys) == 0 {
		fmt.Fprintln(std.out, "no keys: none is configured, and no event is stored")
		return nil
	}
	rows := make([][]string, len(keys))
	for i, key := range keys {
		configured, first, last := "no longer", "never", "never"
		if key.Configured {
			configured = "yes"
		}
		if key.FirstAt != nil {
			first, last = timeCell(key.FirstAt), timeCell(key.LastAt)
		}
		rows[i] = []string{key.Source, key.KeyID, configured, first, last}
	}
	table(std.out, []string{"SOURCE", "KEY", "CONFIGURED", "FIRST USED", "LAST USED"}, rows)
	return nil
}

// keyLines puts together the keys that are configured and those that were used,
// by source, the one used last in front.
func keyLines(configured map[string][]string, uses []store.KeyUse) []keyLine {
	var keys []keyLine
	for _, use := range uses {
		first, last := use.FirstAt.UTC(), use.LastAt.UTC()
		keys = append(keys, keyLine{slices.Contains(configured[use.Source], use.KeyID), use.Source, use.KeyID, &first, &last})
	}
	for source, ids := range configured {
		for _, id := range ids {
			if !slices.ContainsFunc(keys, func(k keyLine) bool { return k.Source == source && k.KeyID == id }) {
				keys = append(keys, keyLine{Source: source, KeyID: id, Configured: true})
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
