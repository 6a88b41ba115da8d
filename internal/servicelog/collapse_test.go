package servicelog

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// collapsed runs steps in fake time with a logger that collapses every ten
// seconds, and returns what was written, with the seconds since the start.
func collapsed(t *testing.T, steps func(*slog.Logger, *Collapse)) (written string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		start := time.Now()
		c := NewCollapse(slog.NewTextHandler(&out, &slog.HandlerOptions{
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Value.Kind() == slog.KindTime {
					a.Value = slog.DurationValue(a.Value.Time().Sub(start))
				}
				return a
			},
		}), 10*time.Second)
		steps(slog.New(c), c)
		c.Close()
		written = out.String()
	})
	return written
}

// The first failure is written at once, each interval has one line with the
// count, and the last line follows when the failures have ended.
func TestCollapseOneCause(t *testing.T) {
	t.Parallel()
	got := collapsed(t, func(log *slog.Logger, _ *Collapse) {
		for n := range 1667 { // for 15 s
			log.Error("not recorded", "count", n, "error", fmt.Errorf("dial tcp 127.0.0.1:%d: connection refused", 40000+n))
			time.Sleep(9 * time.Millisecond)
		}
		time.Sleep(30 * time.Second)
		log.Error("not recorded", "count", 1, "error", "dial tcp 127.0.0.1:1: connection refused")
	})
	want := `time=0s level=ERROR msg="not recorded" count=0 error="dial tcp 127.0.0.1:40000: connection refused"
time=10s level=ERROR msg="not recorded" count=1111 error="dial tcp 127.0.0.1:41111: connection refused" repeated=1111 within=10s last_at=9.999s
time=20s level=ERROR msg="not recorded" count=1666 error="dial tcp 127.0.0.1:41666: connection refused" repeated=555 within=10s last_at=14.994s
time=45.003s level=ERROR msg="not recorded" count=1 error="dial tcp 127.0.0.1:1: connection refused"
`
	if got != want {
		t.Errorf("wrote\n%swant\n%s", got, want)
	}
}

// Repetitions that are counted when the program stops are written then. Later
// records pass unchanged.
func TestCollapseClose(t *testing.T) {
	t.Parallel()
	got := collapsed(t, func(log *slog.Logger, c *Collapse) {
		for range 3 {
			log.Warn("delivery", "code", "signature_mismatch")
		}
		c.Close()
		log.Warn("delivery", "code", "signature_mismatch")
	})
	want := `time=0s level=WARN msg=delivery code=signature_mismatch
time=0s level=WARN msg=delivery code=signature_mismatch repeated=2 within=10s last_at=0s
time=0s level=WARN msg=delivery code=signature_mismatch
`
	if got != want {
		t.Errorf("wrote\n%swant\n%s", got, want)
	}
}

// The second record of each pair follows the first immediately. It gets its own
// line exactly if the causes differ.
func TestCollapseDistinguishesCauses(t *testing.T) {
	t.Parallel()
	failure := func(attrs ...any) func(*slog.Logger) { return func(l *slog.Logger) { l.Error("failed", attrs...) } }
	for _, test := range []struct {
		name        string
		first, next func(*slog.Logger)
		apart       bool
	}{
		{"the same", failure("error", "boom"), failure("error", "boom"), false},
		{"an error and its text", failure("error", errors.New("boom")), failure("error", "boom"), false},
		{"other errors", failure("error", "boom"), failure("error", "bang"), true},
		{"other numbers and ids", failure("error", "boom", "event_id", 1), failure("error", "boom", "event_id", 2), false},
		{"other addresses", failure("error", "dial [::1]:5432: refused"), failure("error", "dial [fe80::2%eth0]:5433: refused"), false},
		{"other ports", failure("error", "write tcp 10.0.0.1:4000->10.0.0.2:5432: broken pipe"), failure("error", "write tcp 10.0.0.1:4001->10.0.0.2:5432: broken pipe"), false},
		{"other UUIDs", failure("error", "run 018a91db-aceb-8f4a-a851-17e615d5c5d9 is gone"), failure("error", "run 118a91db-aceb-8f4a-a851-17e615d5c5d9 is gone"), false},
		{"other SQLSTATEs", failure("error", "refused (SQLSTATE 57P03)"), failure("error", "refused (SQLSTATE 25006)"), true},
		{"other answers", failure("error", "accounting answered 500"), failure("error", "accounting answered 404"), true},
		{"other job types", failure("kind", "a", "error", "boom"), failure("kind", "b", "error", "boom"), true},
		{"other sources", failure("source", "account", "code", "x"), failure("source", "app:crm", "code", "x"), true},
		{"other codes", failure("code", "database_unavailable"), failure("code", "overloaded"), true},
		{"other codes that are numbers", failure("code", 404), failure("code", 500), true},
		{"other SQLSTATEs alone", failure("code", "57P03"), failure("code", "25006"), true},
		{"other names tried", failure("source", "unknown", "tried", "app:crm", "code", "x"), failure("source", "unknown", "tried", "app:shop", "code", "x"), true},
		{"other levels", failure("error", "boom"), func(l *slog.Logger) { l.Warn("failed", "error", "boom") }, true},
		{"other messages", failure("error", "boom"), func(l *slog.Logger) { l.Error("fell", "error", "boom") }, true},
		{"a logger with the place", failure("kind", "a", "error", "boom"), func(l *slog.Logger) { l.With("kind", "a").Error("failed", "error", "boom") }, false},
		{"a logger with another place", failure("kind", "a", "error", "boom"), func(l *slog.Logger) { l.With("kind", "b").Error("failed", "error", "boom") }, true},
		{"within a group", func(l *slog.Logger) { l.WithGroup("g").Error("failed", "error", "boom") }, func(l *slog.Logger) { l.WithGroup("g").Error("failed", "error", "bang") }, true},
		{"no cause is stated", failure("customer", 1), failure("customer", 1), true},
		{"information", func(l *slog.Logger) { l.Info("recorded", "reason", "x") }, func(l *slog.Logger) { l.Info("recorded", "reason", "x") }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := collapsed(t, func(log *slog.Logger, _ *Collapse) {
				test.first(log)
				test.next(log)
			})
			if apart := !strings.Contains(got, "repeated=1"); apart != test.apart {
				t.Errorf("distinguished: %v, want %v:\n%s", apart, test.apart, got)
			}
		})
	}
}

// A caller who invents causes fills neither memory nor log.
func TestCollapseIsBounded(t *testing.T) {
	t.Parallel()
	got := collapsed(t, func(log *slog.Logger, c *Collapse) {
		for n := range 2000 {
			log.Warn("odd", "error", strings.Repeat("x", n%600), "code", strings.Repeat("y", n/600))
		}
		if n, longest := c.kept(); n > maxCauses+maxMessages+1 || longest > 4*maxCauseText {
			t.Errorf("%d causes are kept, with up to %d bytes", n, longest)
		}
		time.Sleep(time.Minute)
		if n, _ := c.kept(); n != 0 {
			t.Errorf("%d causes are kept although nothing fails", n)
		}
	})
	lines := strings.Count(got, "\n")
	if lines > maxCauses+3 || !strings.Contains(got, `msg="failures of further causes, which share this line" message=odd repeated=`) {
		t.Errorf("%d lines, want %d at most and one about the rest", lines, maxCauses+3)
	}
}

// A caller who invents causes hides no other failure. Invented messages do not
// fill the memory either.
func TestCollapseKeepsOtherFailures(t *testing.T) {
	t.Parallel()
	got := collapsed(t, func(log *slog.Logger, c *Collapse) {
		for n := range 2 * maxCauses {
			log.Error("delivery", "code", "unknown_source", "tried", fmt.Sprint("app:", n))
		}
		log.Error("not recorded", "error", "disk full")
		log.Error("secrets not read", "error", "no such file")
		for n := range 2 * maxMessages {
			log.Error(fmt.Sprint("made up ", n), "error", "boom")
		}
		if n, _ := c.kept(); n > maxCauses+maxMessages+1 {
			t.Errorf("%d causes are kept", n)
		}
	})
	for _, want := range []string{`msg="not recorded"`, `msg="secrets not read"`} {
		if !strings.Contains(got, want) {
			t.Errorf("no line %s", want)
		}
	}
}

// kept returns the number of causes in memory, and the length of the longest.
func (c *Collapse) kept() (causes, longest int) {
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	for key := range c.state.causes {
		longest = max(longest, len(key))
	}
	return len(c.state.causes), longest
}
