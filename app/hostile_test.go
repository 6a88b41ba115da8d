package app

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"lumin-ingest/internal/hostile"
	"lumin-ingest/internal/sample"
	"lumin-ingest/lumin"
)

// hostileResult is what TestHostileCallers prints as JSON.
type hostileResult struct {
	Callers     int            `json:"callers"`
	Connections int            `json:"connections"` // of the callers, open at the same time
	Made        int            `json:"connections_made"`
	NotMade     int            `json:"connections_not_made"`
	Seconds     float64        `json:"seconds"`
	Answers     map[string]int `json:"answers"` // to hostile callers, by status
	Deliveries  int            `json:"deliveries"`
	P50         float64        `json:"p50_ms"`
	P99         float64        `json:"p99_ms"`
	MemoryMiB   int            `json:"memory_mib"`
	Goroutines  [2]int         `json:"goroutines"`  // before and after
	Descriptors [2]int         `json:"descriptors"` // before and after
}

// TestHostileCallers delivers while hostile callers use connections, memory and
// time. Each delivery is answered 200, nothing else is recorded, and afterwards
// everything is released. LUMIN_TEST_HOSTILE is the number of callers, each with a
// connection: see make test-hostile.
func TestHostileCallers(t *testing.T) {
	t.Parallel()
	callers, duration := 160, 4*time.Second
	if full, err := strconv.Atoi(os.Getenv("LUMIN_TEST_HOSTILE")); err == nil {
		callers, duration = full, 30*time.Second
	}
	url := newDatabase(t)
	p := startProgram(t, serveEnv(url), "serve")
	p.waitReady()
	result := hostileResult{Callers: callers}
	result.Goroutines[0], result.Descriptors[0] = p.gauge("go_goroutines"), p.gauge("process_open_fds")

	ctx, cancel := context.WithTimeout(t.Context(), duration)
	defer cancel()
	start := time.Now()
	flooded := make(chan hostile.Flooded)
	go func() {
		b := string(body(sample.Delivery{EventType: lumin.SignatureRequestSigned}))
		flooded <- hostile.Flood(ctx, strings.TrimPrefix(p.public(), "http://"), callers, b, strings.Repeat("0", 64))
	}()
	took := deliverUntil(ctx, t, p.public())
	flood := <-flooded
	result.Seconds, result.Answers = time.Since(start).Seconds(), flood.Answers
	result.Connections, result.Made, result.NotMade = flood.Peak, flood.Made, flood.NotMade
	result.Deliveries = len(took)
	result.P50 = float64(took[len(took)/2].Microseconds()) / 1000
	result.P99 = float64(took[len(took)*99/100].Microseconds()) / 1000

	eventually(t, 60*time.Second, "goroutines and descriptors are released", func() bool {
		client.CloseIdleConnections()
		result.Goroutines[1], result.Descriptors[1] = p.gauge("go_goroutines"), p.gauge("process_open_fds")
		return result.Goroutines[1] <= result.Goroutines[0]+20 && result.Descriptors[1] <= result.Descriptors[0]+10
	})
	wantNumber(t, connect(t, url), result.Deliveries, `SELECT count(*) FROM lumin.events`)
	checkHostile(t, p, &result)
}

// checkHostile checks the figures. Under the race detector they mean nothing.
func checkHostile(t *testing.T, p *program, result *hostileResult) {
	t.Helper()
	if runtime.GOOS == "linux" {
		result.MemoryMiB = memory(t, p, "VmHWM") >> 10
	}
	line, err := json.Marshal(result)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", line)
	if result.Answers["400"] == 0 || result.Answers["401"] == 0 || result.Answers["431"] == 0 {
		t.Errorf("the flood was answered %v", result.Answers)
	}
	if result.Connections < result.Callers/2 {
		t.Errorf("only %d connections of %d callers were open at the same time; %d could not be made", result.Connections, result.Callers, result.NotMade)
	}
	if full := os.Getenv("LUMIN_TEST_HOSTILE") != ""; !raceDetector && (result.MemoryMiB >= 256 || full && result.P99 >= 1000) {
		t.Error("more than 256 MiB, or a p99 above 1 s")
	}
}

// deliverUntil delivers events one after another, each on a connection of its
// own, until ctx ends. It returns how long each took, sorted.
func deliverUntil(ctx context.Context, t *testing.T, public string) (took []time.Duration) {
	t.Helper()
	for ctx.Err() == nil {
		b := body(sample.Delivery{EventType: lumin.SignatureRequestSigned, SignatureRequestID: sample.RandomHex(8)})
		client.CloseIdleConnections()
		start := time.Now()
		if r := mustPost(t, public+"/webhooks/account", b, lumin.Sign(b, accountKey)); r.code != http.StatusOK {
			t.Errorf("answered %d %s", r.code, r.body)
		}
		took = append(took, time.Since(start))
		time.Sleep(20 * time.Millisecond) // the pace of the caller
	}
	slices.Sort(took)
	return took
}

// gauge returns a metric without labels.
func (p *program) gauge(name string) int {
	p.tb.Helper()
	_, metrics := get(p.admin() + "/metrics")
	match := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(metrics)
	if match == nil {
		p.tb.Fatalf("no %s in %s", name, metrics)
	}
	value, _ := strconv.ParseFloat(match[1], 64)
	return int(value)
}
