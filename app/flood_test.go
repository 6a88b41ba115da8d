package app

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lumin-ingest/internal/sample"
	"lumin-ingest/lumin"
)

// Bounds of a program that 2,000 connections send nearly 1 MiB each.
const (
	floodConnections = 2000
	maxFloodP99      = time.Second
)

// TestFloodMemory lets unauthenticated callers use all the memory that they can
// get. In a container of 128 MiB, the program sets these limits itself.
func TestFloodMemory(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector takes several times the memory: make test-memory runs this test; package ingest has a smaller one")
	}
	if runtime.GOOS != "linux" {
		t.Skip("/proc is Linux's")
	}
	t.Parallel()
	for name, c := range map[string]struct {
		limits []string
		most   int // MiB
	}{
		"without a limit": {nil, 256},
		"in 128 MiB":      {[]string{"GOMEMLIMIT=115MiB", fmt.Sprintf("MAX_BODY_MEMORY=%d", bodyMemoryOf(128<<20))}, 100},
	} {
		t.Run(name, func(t *testing.T) { //nolint:paralleltest // two floods at once would measure each other
			if peak := flood(t, c.limits...); peak > c.most {
				t.Errorf("%d MiB, more than %d", peak, c.most)
			}
		})
	}
}

// flood returns the most memory that a program has used, in MiB.
func flood(t *testing.T, env ...string) int {
	p := startProgram(t, serveEnv(newDatabase(t), env...), "serve")
	p.waitReady()
	address := strings.TrimPrefix(p.public(), "http://")

	const size = 1 << 20
	unfinished := []byte(fmt.Sprintf("POST /webhooks/account HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", size) + strings.Repeat("x", size-1))
	var answered sync.WaitGroup
	defer answered.Wait()
	var conns []net.Conn
	defer func() {
		for _, conn := range conns {
			conn.Close()
		}
	}()
	for range floodConnections {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		answered.Go(func() {
			_, _ = conn.Write(unfinished) // fails when it was refused meanwhile
			_, _ = io.Copy(io.Discard, conn)
		})
	}
	var took []time.Duration
	for range 300 {
		b := body(sample.Delivery{EventType: lumin.SignatureRequestSigned, SignatureRequestID: sample.RandomHex(8)})
		start := time.Now()
		if r := mustPost(t, p.public()+"/webhooks/account", b, lumin.Sign(b, accountKey)); r.code != http.StatusOK {
			t.Errorf("answered %d %s", r.code, r.body)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	p99, peak := took[len(took)*99/100], memory(t, p, "VmHWM")
	t.Logf("p99 of honest deliveries %s, at most %.0f MiB resident", p99, float64(peak)/1024)
	if p99 > maxFloodP99 {
		t.Errorf("p99 is above %s", maxFloodP99)
	}
	if _, metrics := get(p.admin() + "/metrics"); !strings.Contains(metrics, `reason="too_many_bodies",result="unavailable",source="account"`) {
		t.Error("no body was refused: that was no flood")
	}
	return peak >> 10
}
