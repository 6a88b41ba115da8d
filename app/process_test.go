//go:build unix

package app

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/sample"
	"lumin-ingest/lumin"
)

func deliverTo(tb testing.TB, public string, b []byte) reply {
	tb.Helper()
	return mustPost(tb, public+"/webhooks/account", b, lumin.Sign(b, accountKey))
}

// An acknowledged delivery does not depend on the process that received it.
// This process only receives, so its job cannot have been fetched yet.
func TestKilledAfterAnswer(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	db := connect(t, url)
	p := startProgram(t, serveEnv(url, "LUMIN_ROLE=ingest"), "serve")
	p.waitReady()
	r := deliverTo(t, p.public(), body(sample.Delivery{EventType: lumin.SignatureRequestSigned}))
	p.signal(syscall.SIGKILL)
	if r.code != 200 || r.Status != "recorded" {
		t.Fatalf("answered %d %s", r.code, r.body)
	}
	p.wait(10 * time.Second)
	wantNumber(t, db, 2, `SELECT count(*) FROM lumin.runs WHERE state = 'pending'`)

	next := startProgram(t, serveEnv(url, "LUMIN_ROLE=worker"), "serve")
	next.waitReady()
	waitSettled(t, db)
	wantNumber(t, db, 2, `SELECT count(*) FROM lumin.runs WHERE state = 'succeeded'`)
	wantNumber(t, db, 1, `SELECT count(*) FROM lumin_test.effects`)
	next.signal(syscall.SIGTERM)
	if code := next.wait(20 * time.Second); code != 0 {
		t.Errorf("it ended with %d", code)
	}
}

// Every delivery that was answered 200 is in the database, even if the signal
// came during other deliveries.
func TestTerminatedUnderLoad(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	db := connect(t, url)
	p := startProgram(t, serveEnv(url), "serve")
	p.waitReady()
	public := p.public()

	var (
		load    = &load{url: public + "/webhooks/account", ids: map[string]int64{}}
		senders sync.WaitGroup
		ended   = make(chan struct{})
	)
	for sender := range 8 {
		senders.Go(func() { load.run(t, sender, ended) })
	}
	// A delivery whose body is half sent when the signal comes. The program has
	// begun to read it.
	slow := body(sample.Delivery{EventType: lumin.SignatureRequestSigned, SignatureRequestID: "slow"})
	conn := halfDelivery(t, public, slow)
	eventually(t, 30*time.Second, "some are acknowledged", func() bool { return load.acknowledged() >= 200 })
	p.signal(syscall.SIGTERM)
	eventually(t, 10*time.Second, "it has noticed", func() bool { return p.stderr.logged("stopping") != nil })
	r := conn.rest()
	if r.code != 200 || r.Status != "recorded" {
		t.Errorf("the slow one was answered %d %s", r.code, r.body)
	}
	code := p.wait(30 * time.Second)
	close(ended)
	senders.Wait()
	if code != 0 {
		t.Errorf("it ended with %d", code)
	}
	if p.stderr.logged("stopped") == nil {
		t.Error("it did not say that it has stopped")
	}

	load.ids["slow"] = r.ID
	wantAllRecorded(t, db, load.ids)

	startProgram(t, serveEnv(url), "serve").waitReady()
	waitSettled(t, db)
	events := number(t, db, `SELECT count(*) FROM lumin.events`)
	wantNumber(t, db, events, `SELECT count(*) FROM lumin_test.effects`)
	wantNumber(t, db, events, `SELECT count(DISTINCT event_key) FROM lumin_test.effects`)
}

// load sends deliveries, and keeps the ids of the acknowledged events by
// signature request.
type load struct {
	url string

	mu  sync.Mutex
	ids map[string]int64
}

// run sends deliveries until ended is closed.
func (l *load) run(t *testing.T, sender int, ended <-chan struct{}) {
	for n := 0; ; n++ {
		select {
		case <-ended:
			return
		default:
		}
		request := fmt.Sprintf("load-%d-%d", sender, n)
		b := body(sample.Delivery{EventType: lumin.SignatureRequestSigned, SignatureRequestID: request})
		r, err := post(l.url, b, lumin.Sign(b, accountKey))
		if err != nil {
			continue // the program has ended
		}
		if r.code != 200 {
			t.Errorf("answered %d %s", r.code, r.body)
		}
		l.mu.Lock()
		l.ids[request] = r.ID
		l.mu.Unlock()
	}
}

func (l *load) acknowledged() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.ids)
}

// wantAllRecorded checks that each acknowledged event is stored with its runs
// and jobs. ids has the ids of the events by signature request.
func wantAllRecorded(t *testing.T, db *pgx.Conn, ids map[string]int64) {
	t.Helper()
	for request, id := range ids {
		wantNumber(t, db, 1, `SELECT count(*) FROM lumin.events WHERE id = $1 AND signature_request_id = $2`, id, request)
	}
	wantNumber(t, db, 0, `SELECT count(*) FROM lumin.events e
		WHERE 2 <> (SELECT count(*) FROM lumin.runs r WHERE r.event_key = e.event_key)`)
	wantNumber(t, db, 0, `SELECT count(*) FROM lumin.runs r WHERE state = 'pending' AND NOT EXISTS (
		SELECT FROM lumin.river_job j WHERE j.kind = r.job_kind AND j.args ->> 'event_key' = r.event_key::text
		AND j.state NOT IN ('completed', 'discarded', 'cancelled'))`)
	wantNumber(t, db, 0, `SELECT count(*) FROM lumin.river_job WHERE state = 'running'`)
}

// half is a delivery whose second half has not been sent.
type half struct {
	tb   testing.TB
	conn net.Conn
	left []byte
}

func halfDelivery(tb testing.TB, public string, b []byte) *half {
	tb.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(public, "http://"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	// The program answers 100-continue when it begins to read.
	_, err = fmt.Fprintf(conn, "POST /webhooks/account HTTP/1.1\r\nHost: x\r\nX-Signature: %s\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n%s",
		lumin.Sign(b, accountKey), len(b), b[:len(b)/2])
	if err != nil {
		tb.Fatal(err)
	}
	answer := make([]byte, len("HTTP/1.1 100 Continue\r\n\r\n"))
	if _, err := conn.Read(answer); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 100") {
		tb.Fatalf("%v, %q", err, answer)
	}
	return &half{tb, conn, b[len(b)/2:]}
}

func (h *half) rest() reply {
	h.tb.Helper()
	if _, err := h.conn.Write(h.left); err != nil {
		h.tb.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(h.conn), nil)
	if err != nil {
		h.tb.Fatal(err)
	}
	defer response.Body.Close()
	r := reply{code: response.StatusCode}
	if err := json.NewDecoder(response.Body).Decode(&r); err != nil {
		h.tb.Fatal(err)
	}
	return r
}

// After a second signal, the program ends at once.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	p := startProgram(t, serveEnv(url), "serve")
	p.waitReady()
	halfDelivery(t, p.public(), body(sample.Delivery{EventType: lumin.SignatureRequestSigned}))
	p.signal(syscall.SIGTERM)
	eventually(t, 10*time.Second, "it stops", func() bool { return p.stderr.logged("stopping") != nil })
	p.mustRun() // or this proves nothing
	p.signal(syscall.SIGTERM)
	p.wait(5 * time.Second)
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGTERM {
		t.Errorf("it ended with %v", p.cmd.ProcessState)
	}
}

// maxIdleKiB and maxIdleOwnKiB bound the memory of the stock program when it is
// idle: all that is resident, and what is the program's own (the heap, stacks,
// and the tables of Go's runtime). The rest are pages of the executable file.
// The kernel drops them when memory is short, and decides how many it maps
// around each one that is used: between 28 and 32 MiB were seen.
const (
	maxIdleKiB    = 45 << 10
	maxIdleOwnKiB = 14 << 10
)

// TestIdleMemory measures the program as it is built for users.
func TestIdleMemory(t *testing.T) {
	if raceDetector {
		t.Skip("the program would have to be built without the race detector, which takes long: run the tests without -race")
	}
	if runtime.GOOS != "linux" {
		t.Skip("/proc is Linux's")
	}
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "lumin-ingest")
	if out, err := exec.Command("go", "build", "-o", binary, "lumin-ingest/cmd/lumin-ingest").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p := startProgramAt(t, binary, serveEnv(newDatabase(t)), "serve")
	p.waitReady()
	// The memory of the start is released after a while, so the lowest figures
	// count.
	all, own, deadline := resident(t, p), memory(t, p, "RssAnon"), time.Now().Add(10*time.Second)
	eventually(t, time.Minute, "it has been idle for ten seconds, or is small", func() bool {
		all, own = min(all, resident(t, p)), min(own, memory(t, p, "RssAnon"))
		return all <= maxIdleKiB && own <= maxIdleOwnKiB || time.Now().After(deadline)
	})
	t.Logf("%.1f MiB resident when idle, %.1f MiB of them not of the executable", float64(all)/1024, float64(own)/1024)
	if all > maxIdleKiB {
		t.Errorf("more than %d MiB resident", maxIdleKiB>>10)
	}
	if own > maxIdleOwnKiB {
		t.Errorf("more than %d MiB are not of the executable", maxIdleOwnKiB>>10)
	}
}

// resident is VmRSS in KiB.
func resident(tb testing.TB, p *program) int {
	tb.Helper()
	return memory(tb, p, "VmRSS")
}

// memory is one figure of /proc/PID/status, in KiB.
func memory(tb testing.TB, p *program, name string) int {
	tb.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		tb.Fatal(err)
	}
	match := regexp.MustCompile(`(?m)^` + name + `:\s+(\d+) kB$`).FindSubmatch(status)
	if match == nil {
		tb.Fatalf("no %s in %s", name, status)
	}
	kib, _ := strconv.Atoi(string(match[1]))
	return kib
}
