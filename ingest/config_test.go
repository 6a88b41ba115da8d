package ingest

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){
		"no sources":        func(cfg *Config) { cfg.Sources = nil },
		"a nameless source": func(cfg *Config) { cfg.Sources[""] = newKeyring(t, accountKey) },
		"a nameless app":    func(cfg *Config) { cfg.Sources["app:"] = newKeyring(t, accountKey) },
		"a long app":        func(cfg *Config) { cfg.Sources["app:"+strings.Repeat("a", 64)] = newKeyring(t, accountKey) },
		"an odd app":        func(cfg *Config) { cfg.Sources["app:a_b"] = newKeyring(t, accountKey) },
		"a bare name":       func(cfg *Config) { cfg.Sources["demo"] = newKeyring(t, accountKey) },
		"no keyring":        func(cfg *Config) { cfg.Sources["account"] = nil },
		"an empty keyring":  func(cfg *Config) { cfg.Sources["account"] = &lumin.Keyring{} },
		"no Record":         func(cfg *Config) { cfg.Record = nil },
		"no Route":          func(cfg *Config) { cfg.Route = nil },
		"no Logger":         func(cfg *Config) { cfg.Logger = nil },
		"1 s":               func(cfg *Config) { cfg.MaxEventAge = time.Second },
		"just below 31 h":   func(cfg *Config) { cfg.MaxEventAge = 31*time.Hour - 1 },
		"a negative age":    func(cfg *Config) { cfg.MaxEventAge = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := validConfig(t)
			change(&cfg)
			if _, err := New(cfg); err == nil || !strings.HasPrefix(err.Error(), "ingest: ") {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("metrics registered twice", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		cfg := validConfig(t)
		cfg.Registerer = r.registry
		if _, err := New(cfg); err == nil {
			t.Error("accepted")
		}
	})
	t.Run("nothing wrong", func(t *testing.T) {
		t.Parallel()
		cfg := validConfig(t)
		cfg.Sources["app:"+strings.Repeat("a-9", 21)] = newKeyring(t, accountKey)
		cfg.MaxEventAge = 31 * time.Hour
		if _, err := New(cfg); err != nil {
			t.Error(err)
		}
	})
}

// validConfig returns the minimal valid Config.
func validConfig(t *testing.T) Config {
	return Config{
		Sources: map[string]*lumin.Keyring{"account": newKeyring(t, accountKey)},
		Record: func(context.Context, store.Delivery) (store.Receipt, error) {
			return store.Receipt{}, errors.New("not meant to be called")
		},
		Route:  func(string, lumin.EventType) []store.JobSpec { return nil },
		Logger: slog.New(slog.DiscardHandler),
	}
}
