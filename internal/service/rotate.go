package service

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"time"

	"lumin-ingest/internal/advice"
	"lumin-ingest/lumin"
)

// rotate starts to use new secrets while the service runs, until ctx ends. If
// they cannot be read, the secrets in use stay valid.
func (s *Service) rotate(ctx context.Context) {
	if s.cfg.ReadSources == nil {
		s.logHangups(ctx)
		return
	}
	polls := time.NewTicker(s.cfg.SourcesPoll)
	defer polls.Stop()
	w := s.watchSecrets()
	for {
		select {
		case <-ctx.Done():
			return
		case <-polls.C:
			w.look(ctx, false)
		case <-s.signals.hangup:
			w.look(ctx, true)
		}
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
				"remedy", "give the secrets as LUMIN_ACCOUNT_API_KEYS_FILE or LUMIN_APP_SECRETS_FILE to change them without a restart")
		}
	}
}

func (s *Service) watchSecrets() *secretWatch {
	return &secretWatch{
		read: s.cfg.ReadSources, timeout: s.cfg.SourcesTimeout, logger: s.cfg.Logger,
		use: func(ctx context.Context, sources map[string]*lumin.Keyring) error {
			if err := s.handler.SetSources(sources); err != nil {
				return err
			}
			s.recallNewSources(ctx)
			return nil
		},
		valid: keyIDs(s.cfg.Sources),
	}
}

// secretWatch compares the files of secrets with the secrets in use.
type secretWatch struct {
	read    func() (map[string]*lumin.Keyring, error)
	timeout time.Duration // of one call of read
	logger  *slog.Logger
	use     func(context.Context, map[string]*lumin.Keyring) error // takes secrets into use

	valid  map[string][]string // fingerprints of the secrets in use, by source
	seen   map[string][]string // fingerprints that the previous look found, if they differ from valid
	failed string              // the error of the previous look; empty if it succeeded

	reading chan readSecrets // set while read runs
}

// readSecrets is the result of one reading.
type readSecrets struct {
	sources map[string]*lumin.Keyring
	err     error
}

// look reads the secrets. It starts to use new secrets once two consecutive
// looks have found the same ones, because the first look may find a partly
// written file. With asked, it uses them at once.
func (w *secretWatch) look(ctx context.Context, asked bool) {
	sources, err := w.await(ctx)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		w.fail(err, asked)
		return
	}
	found := keyIDs(sources)
	recovered := w.failed != ""
	w.failed = ""
	if equalKeyIDs(found, w.valid) {
		if asked || recovered {
			w.logger.Info("the secrets were reloaded: they have not changed", "key_ids", found)
		}
		w.seen = nil
		return
	}
	if !asked && !equalKeyIDs(found, w.seen) {
		w.seen = found
		return
	}
	if err := w.use(ctx, sources); err != nil {
		w.fail(err, asked)
		return
	}
	changed := changedSources(w.valid, found)
	w.valid, w.seen = found, nil
	w.logger.Info("the secrets have changed", "changed", changed, "key_ids", found)
}

// await reads the secrets with a time limit, so that a mount that hangs does
// not keep the program from stopping. After a timeout, the next call waits for
// the same reading, so at most one hangs.
func (w *secretWatch) await(ctx context.Context) (map[string]*lumin.Keyring, error) {
	if w.reading == nil {
		reading := make(chan readSecrets, 1)
		go func() {
			sources, err := w.read()
			reading <- readSecrets{sources, err}
		}()
		w.reading = reading
	}
	timeout := time.NewTimer(w.timeout)
	defer timeout.Stop()
	select {
	case r := <-w.reading:
		w.reading = nil
		return r.sources, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timeout.C:
		return nil, advice.Add(errors.New("the files of secrets cannot be read in time"), "check whether their file system hangs")
	}
}

// fail logs an error, but not the same one twice in a row unless asked is true.
// Errors of settings contain no part of a secret.
func (w *secretWatch) fail(err error, asked bool) {
	w.seen = nil
	if asked || err.Error() != w.failed {
		problem, remedy := advice.Of(err)
		w.logger.Error("the secrets cannot be reloaded; those in use stay valid", "error", problem, "remedy", remedy)
	}
	w.failed = err.Error()
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
