package app

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"time"

	"lumin-ingest/lumin"
)

// secretPoll is how often files of secrets are looked at. Their content counts,
// not their times: orchestrators swap a symbolic link somewhere above them.
const secretPoll = 2 * time.Second

// secretPatience is how long a look waits for files on a mount that may hang.
const secretPatience = 10 * time.Second

// rotation is how a service comes to new secrets without a restart.
type rotation struct {
	read     func() (map[string]*lumin.Keyring, error) // nil: the secrets are not in files, or not needed
	every    time.Duration
	patience time.Duration
	hangups  <-chan os.Signal // SIGHUP: look at once
}

// rotate takes over what the files of secrets say, until ctx ends. Whatever is
// wrong with them, the secrets that were valid stay so.
func (s *service) rotate(ctx context.Context) {
	var polls <-chan time.Time
	if s.cfg.rotation.read != nil {
		ticker := time.NewTicker(s.cfg.rotation.every)
		defer ticker.Stop()
		polls = ticker.C
	}
	w := secretWatch{service: s, valid: keyIDs(s.cfg.sources)}
	for {
		select {
		case <-ctx.Done():
			return
		case <-polls:
			w.look(ctx, false)
		case <-s.cfg.rotation.hangups:
			if s.cfg.rotation.read == nil {
				s.cfg.logger.Info("SIGHUP: there is nothing to read again",
					"remedy", "give the secrets as LUMIN_ACCOUNT_API_KEYS_FILE or LUMIN_APP_SECRETS_FILE to change them without a restart")
				continue
			}
			w.look(ctx, true)
		}
	}
}

// secretWatch is what is known of the files of secrets.
type secretWatch struct {
	*service
	valid  map[string][]string // fingerprints of the secrets in use, by source
	seen   map[string][]string // by the look before this one, if they differ from those
	failed string              // what the last look complained of

	reading chan secretsRead // set while files are being read
}

// secretsRead is what reading the files came to.
type secretsRead struct {
	sources map[string]*lumin.Keyring
	err     error
}

// read does not wait for files that do not come: neither may they keep the program
// from ending. The next call waits for the same reading, so there is only ever one
// that hangs.
func (w *secretWatch) read(ctx context.Context) (map[string]*lumin.Keyring, error) {
	if w.reading == nil {
		reading := make(chan secretsRead, 1)
		go func() {
			sources, err := w.cfg.rotation.read()
			reading <- secretsRead{sources, err}
		}()
		w.reading = reading
	}
	patience := time.NewTimer(w.cfg.rotation.patience)
	defer patience.Stop()
	select {
	case r := <-w.reading:
		w.reading = nil
		return r.sources, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-patience.C:
		return nil, hint(errors.New("the files of secrets do not answer"), "see whether what they are mounted from hangs")
	}
}

// look reads the files. Other secrets are taken over once two looks in a row
// have seen them, because the first may have met a file half written; if
// somebody asks for it, at once.
func (w *secretWatch) look(ctx context.Context, asked bool) {
	sources, err := w.read(ctx)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		w.complain(err, asked)
		return
	}
	found := keyIDs(sources)
	mended := w.failed != ""
	w.failed = ""
	if equalKeyIDs(found, w.valid) {
		if asked || mended {
			w.cfg.logger.Info("the secrets were read again: they are those in use", "key_ids", found)
		}
		w.seen = nil
		return
	}
	if !asked && !equalKeyIDs(found, w.seen) {
		w.seen = found
		return
	}
	if err := w.handler.SetSources(sources); err != nil {
		w.complain(err, asked)
		return
	}
	var changed []string
	for source := range maps.Keys(merged(found, w.valid)) {
		if !slices.Equal(found[source], w.valid[source]) {
			changed = append(changed, source)
		}
	}
	slices.Sort(changed)
	w.recallNew(ctx)
	w.valid, w.seen = found, nil
	w.cfg.logger.Info("the secrets have changed", "changed", changed, "key_ids", found)
}

// complain says the same only once. The errors of settings hold nothing of what
// is in the files.
func (w *secretWatch) complain(err error, asked bool) {
	w.seen = nil
	if asked || err.Error() != w.failed {
		remedy := ""
		var h *hinted
		if errors.As(err, &h) {
			remedy = h.hint
		}
		w.cfg.logger.Error("the secrets cannot be read again; those in use stay valid", "error", err.Error(), "remedy", remedy)
	}
	w.failed = err.Error()
}

func keyIDs(sources map[string]*lumin.Keyring) map[string][]string {
	ids := make(map[string][]string, len(sources))
	for source, keyring := range sources {
		ids[source] = keyring.KeyIDs()
	}
	return ids
}

func equalKeyIDs(a, b map[string][]string) bool { return maps.EqualFunc(a, b, slices.Equal) }

func merged(a, b map[string][]string) map[string][]string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}
