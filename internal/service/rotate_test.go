package service

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/testlog"
	"lumin-ingest/lumin"
)

// A file that stays invalid is logged once. A change that only one look finds
// is not used.
func TestSecretWatch(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keys")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func() (map[string]*lumin.Keyring, error) {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		keyring, err := lumin.NewKeyring(string(text))
		return map[string]*lumin.Keyring{"account": keyring}, err
	}
	write(accountKey)
	i := startService(t, pgtest.New(t), func(cfg *Config) {
		sources, err := read()
		if err != nil {
			t.Fatal(err)
		}
		cfg.Sources = sources
		cfg.ReadSources = read
		cfg.SourcesPoll = time.Hour // the test calls look
		cfg.SourcesTimeout = time.Hour
	})
	i.waitReady(t)
	w := i.watchSecrets()
	accepts := func(want int, key string) {
		t.Helper()
		if got := i.deliver(t, key); got != want {
			t.Errorf("answered %d, want %d", got, want)
		}
	}
	write("")
	w.look(t.Context(), false)
	w.look(t.Context(), false)
	w.look(t.Context(), false)
	if n := strings.Count(i.log.String(), "cannot be reloaded"); n != 1 {
		t.Errorf("logged %d times", n)
	}
	accepts(200, accountKey)
	write(newKey)
	w.look(t.Context(), false)
	accepts(200, accountKey)
	w.look(t.Context(), false)
	accepts(401, accountKey)
	accepts(200, newKey)
	write(accountKey)
	w.look(t.Context(), true)
	accepts(200, accountKey)
}

// A mount that hangs does not keep the program from serving or stopping.
func TestSecretsOnHangingMount(t *testing.T) {
	t.Parallel()
	hung, reading := make(chan struct{}), make(chan struct{}, 1)
	defer close(hung)
	i := startService(t, pgtest.New(t), func(cfg *Config) {
		cfg.SourcesPoll, cfg.SourcesTimeout = time.Millisecond, time.Hour
		cfg.ReadSources = func() (map[string]*lumin.Keyring, error) {
			reading <- struct{}{}
			<-hung
			return nil, context.Canceled
		}
	})
	i.waitReady(t)
	<-reading
	stopped := make(chan error, 1)
	go func() { stopped <- i.stop() }()
	select {
	case <-stopped: // the cleanup checks the error
	case <-time.After(30 * time.Second):
		t.Error("it does not stop")
	}
}

// The timeout is logged once, the secrets are used when they finally arrive,
// and only one reading hangs.
func TestSecretsThatHangForAWhile(t *testing.T) {
	t.Parallel()
	var readings atomic.Int32
	comes, log := make(chan map[string]*lumin.Keyring), &testlog.Buffer{}
	w := watch[map[string]*lumin.Keyring]{what: "secrets", logger: slog.New(slog.NewJSONHandler(log, nil))}
	w.read = func() (map[string]*lumin.Keyring, error) {
		readings.Add(1)
		return <-comes, nil
	}
	w.same = func(a, b map[string]*lumin.Keyring) bool { return equalKeyIDs(keyIDs(a), keyIDs(b)) }
	for range 3 {
		w.look(t.Context(), false) // with a timeout of 0
	}
	if n := strings.Count(log.String(), `"remedy":"check whether their file system hangs"`); n != 1 {
		t.Errorf("logged %d times: %s", n, log)
	}
	w.timeout = time.Hour
	keyring, err := lumin.NewKeyring(newKey)
	if err != nil {
		t.Fatal(err)
	}
	go func() { comes <- map[string]*lumin.Keyring{"account": keyring} }()
	w.look(t.Context(), false)
	if w.seen == nil || (*w.seen)["account"] != keyring || w.broken != "" || readings.Load() != 1 {
		t.Errorf("seen %v, broken %q, %d readings", w.seen, w.broken, readings.Load())
	}
}
