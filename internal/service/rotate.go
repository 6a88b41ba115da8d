package service

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"lumin-ingest/lumin"
)

// rotate starts to use new secrets and a new certificate while the service
// runs, until ctx ends. Those that cannot be read stay as they are.
func (s *Service) rotate(ctx context.Context) {
	var looks []func(ctx context.Context, asked bool)
	if s.cfg.ReadSources != nil {
		looks = append(looks, s.watchSecrets().look)
	}
	if s.certificate != nil {
		looks = append(looks, s.lookAtCertificate())
	}
	if s.cfg.ReadAdminTokens != nil {
		looks = append(looks, s.watchTokens().look)
	}
	if len(looks) == 0 {
		s.logHangups(ctx)
		return
	}
	polls := time.NewTicker(s.cfg.SourcesPoll)
	defer polls.Stop()
	for {
		asked := false
		select {
		case <-ctx.Done():
			return
		case <-polls.C:
		case <-s.signals.hangup:
			asked = true
		}
		var looking sync.WaitGroup
		for _, look := range looks {
			looking.Go(func() { look(ctx, asked) })
		}
		looking.Wait()
	}
}

// logHangups logs each SIGHUP: no secret comes from a file, so there is nothing
// to reload.
func (s *Service) logHangups(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.signals.hangup:
			s.cfg.Logger.Info("SIGHUP: there is nothing to reload",
				"remedy", "give the secrets as LUMIN_ACCOUNT_API_KEYS_FILE, LUMIN_APP_SECRETS_FILE or ADMIN_TOKENS_FILE to change them without a restart")
		}
	}
}

// watchSecrets compares the files of secrets with the secrets in use.
func (s *Service) watchSecrets() *watch[map[string]*lumin.Keyring] {
	w := &watch[map[string]*lumin.Keyring]{
		what: "secrets", read: s.cfg.ReadSources, timeout: s.cfg.SourcesTimeout, logger: s.cfg.Logger, valid: s.cfg.Sources,
		same:  func(a, b map[string]*lumin.Keyring) bool { return equalKeyIDs(keyIDs(a), keyIDs(b)) },
		about: func(sources map[string]*lumin.Keyring) []any { return []any{"key_ids", keyIDs(sources)} },
	}
	w.use = func(ctx context.Context, sources map[string]*lumin.Keyring) error {
		if err := s.handler.SetSources(sources); err != nil {
			return err
		}
		s.recallNewSources(ctx)
		found := keyIDs(sources)
		s.cfg.Logger.Info("the secrets have changed", "changed", changedSources(keyIDs(w.valid), found), "key_ids", found)
		return nil
	}
	return w
}

// keyIDs returns the fingerprints of the secrets of each source.
func keyIDs(sources map[string]*lumin.Keyring) map[string][]string {
	ids := make(map[string][]string, len(sources))
	for source, keyring := range sources {
		ids[source] = keyring.KeyIDs()
	}
	return ids
}

func equalKeyIDs(a, b map[string][]string) bool { return maps.EqualFunc(a, b, slices.Equal) }

// changedSources lists the sources that were added, removed, or have other
// secrets.
func changedSources(before, after map[string][]string) (changed []string) {
	both := maps.Clone(before)
	maps.Copy(both, after)
	for source := range both {
		if !slices.Equal(before[source], after[source]) {
			changed = append(changed, source)
		}
	}
	slices.Sort(changed)
	return changed
}
