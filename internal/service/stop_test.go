package service

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/wait"
)

// If a listener has failed, there is no drain delay, because it can receive
// nothing more.
func TestNoDrainWithoutListener(t *testing.T) {
	t.Parallel()
	broken := errors.New("listener broken")
	for name, first := range map[string]func(*testService, func()){
		"before the stop": func(*testService, func()) {},
		"during the delay": func(i *testService, cancel func()) {
			cancel()
			wait.Within(t, 10*time.Second, "it drains", func() bool { return i.log.First("no longer ready; still receiving during the drain delay") != nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := startService(t, pgtest.New(t), func(cfg *Config) { cfg.DrainDelay = time.Hour })
			i.mayFail = broken
			i.waitReady(t)
			stopped := make(chan error, 1)
			first(i, func() { go func() { stopped <- i.stop() }() })
			i.failed <- broken
			wait.Within(t, 15*time.Second, "it has stopped", func() bool { return i.log.First("stopped") != nil })
			if err := i.stop(); !errors.Is(err, broken) {
				t.Errorf("it stopped with %v", err)
			}
		})
	}
}

// A supervisor kills a program that does not stop in time. Its limit must
// exceed the sum of all that a stop waits for.
func TestStopBound(t *testing.T) {
	t.Parallel()
	const (
		drain  = 5 * time.Second // the default
		commit = 8 * time.Second // of a transaction that has begun, see store.Recorder.Shutdown
		most   = drain + stopTimeout + commit + jobsTimeout + forgetTimeout + closeTimeout + logFlush
	)
	if most > 51*time.Second {
		t.Errorf("a stop takes up to %v: correct the README and the compose files", most)
	}
	for file, pattern := range map[string]string{
		"../../docker-compose.yml":                  `stop_grace_period: (\d+s) # a stop takes up to 51 s`,
		"../../examples/starter/docker-compose.yml": `stop_grace_period: (\d+s) # a stop takes up to 51 s`,
		"../../README.md":                           "with SIGTERM and give it (60) s",
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		match := regexp.MustCompile(pattern).FindSubmatch(text)
		if match == nil {
			t.Errorf("%s does not match %s", file, pattern)
			continue
		}
		if grace, err := time.ParseDuration(strings.TrimSuffix(string(match[1]), "s") + "s"); err != nil || grace < most+5*time.Second {
			t.Errorf("%s: %v, %v, want 5 s more than %v", file, grace, err, most)
		}
	}
}
