//go:build unix

package app

import (
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"lumin-ingest/internal/pgdev"
	"lumin-ingest/internal/sample"
	"lumin-ingest/lumin"
)

// During an outage of the database, the log has one line per cause and
// interval, and still counts every refused delivery. The same holds for
// deliveries with wrong signatures.
func TestLogIsNotFlooded(t *testing.T) {
	t.Parallel()
	server, url := startServer(t)
	p := startProgram(t, serveEnv(url), "serve")
	p.waitReady()
	if err := server.Halt(pgdev.Immediate); err != nil {
		t.Fatal(err)
	}
	const refused, strange = 1500, 500
	b := body(sample.Delivery{EventType: lumin.SignatureRequestSigned})
	sound, wrong := lumin.Sign(b, accountKey), lumin.Sign(b, "another key")
	var (
		senders sync.WaitGroup
		left    atomic.Int64
		public  = p.public()
	)
	left.Store(refused + strange)
	for range 8 {
		senders.Go(func() {
			for n := left.Add(-1); n >= 0; n = left.Add(-1) {
				signature, want := sound, 503
				if n < strange {
					signature, want = wrong, 401
				}
				r, err := post(public+"/webhooks/account", b, signature)
				if err != nil || r.code != want {
					t.Errorf("answered %d %s, %v, want %d", r.code, r.body, err, want)
				}
			}
		})
	}
	start := time.Now()
	senders.Wait()
	took := time.Since(start)
	p.signal(syscall.SIGTERM)
	p.wait(30 * time.Second)

	counted, lines := countFailures(p.stderr.String())
	t.Logf("%d lines in %v: %v", lines, took, counted)
	for what, want := range map[string]int{"delivery database_unavailable": refused, "delivery signature_mismatch": strange} {
		if counted[what] != want {
			t.Errorf("%d %s are counted, want %d", counted[what], what, want)
		}
	}
	const collapseEvery = 10 * time.Second // of package service
	if most := 60 + 20*int(took/collapseEvery); lines > most {
		t.Errorf("%d lines, want %d at most", lines, most)
	}
}

// countFailures counts the failures in a log by message and code, and the lines
// that hold them.
func countFailures(log string) (counted map[string]int, lines int) {
	counted = map[string]int{}
	for line := range strings.Lines(log) {
		var entry struct {
			Level, Msg, Code string
			Repeated         int
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Level == "INFO" {
			continue
		}
		lines++
		counted[strings.TrimSpace(entry.Msg+" "+entry.Code)] += max(entry.Repeated, 1)
	}
	return counted, lines
}
