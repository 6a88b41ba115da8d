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

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/sample"
	"lumin-ingest/lumin"
)

func deliverTo(tb testing.TB, public string, b []byte) reply {
	tb.Helper()
	return mustPost(tb, public+"/webhooks/account", b, lumin.Sign(b, accountKey))
}

// Nothing that was acknowledged hangs on the process that did. This one only
// receives, so that its job cannot have been fetched yet.
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

// A job that was being worked on is taken up again, once River sees that nobody
// does any more.
func TestKilledWhileWorking(t *testing.T) {
	if os.Getenv("LUMIN_TEST_SLOW") == "" {
		t.Skip("takes up to 90 s; set LUMIN_TEST_SLOW=1 to run it")
	}
	t.Parallel()
	url := newDatabase(t)
	db := connect(t, url)
	hold, err := connect(t, url).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hold.Exec(t.Context(), `LOCK TABLE lumin_test.effects`); err != nil {
		t.Fatal(err)
	}
	p := startProgram(t, serveEnv(url), "serve")
	p.waitReady()
	deliverTo(t, p.public(), body(sample.Delivery{EventType: lumin.SignatureRequestSigned}))
	eventually(t, 10*time.Second, "the job type waits for the lock", func() bool {
		return number(t, db, `SELECT count(*) FROM pg_locks WHERE relation = 'lumin_test.effects'::regclass AND NOT granted`) == 1
	})
	p.signal(syscall.SIGKILL)
	p.wait(10 * time.Second)
	if err := hold.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	startProgram(t, serveEnv(url), "serve").waitReady()
	eventually(t, 90*time.Second, "the run has succeeded", func() bool {
		return number(t, db, `SELECT count(*) FROM lumin.runs WHERE state = 'succeeded'`) == 2
	})
	t.Logf("taken up after %s", time.Since(start))
	wantNumber(t, db, 1, `SELECT count(*) FROM lumin_test.effects`)
}

// Every 200 is in the database, whatever was in flight when the signal came.
func TestTerminatedUnderLoad(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	db := connect(t, url)
	p := startProgram(t, serveEnv(url), "serve")
	p.waitReady()
	public := p.public()

	var (
		mu       sync.Mutex
		ledger   = map[string]int64{} // signature request and the id that was answered
		senders  sync.WaitGroup
		ended    = make(chan struct{})
		received = func() int { mu.Lock(); defer mu.Unlock(); return len(ledger) }
	)
	for sender := range 8 {
		senders.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-ended:
					return
				default:
				}
				request := fmt.Sprintf("load-%d-%d", sender, n)
				b := body(sample.Delivery{EventType: lumin.SignatureRequestSigned, SignatureRequestID: request})
				r, err := post(public+"/webhooks/account", b, lumin.Sign(b, accountKey))
				if err != nil {
					continue // there is nobody to answer any more
				}
				if r.code != 200 {
					t.Errorf("answered %d %s", r.code, r.body)
				}
				mu.Lock()
				ledger[request] = r.ID
				mu.Unlock()
			}
		})
	}
	// One whose body is only half there when the signal comes, and which the
	// program has begun to read.
	slow := body(sample.Delivery{EventType: lumin.SignatureRequestSigned, SignatureRequestID: "slow"})
	conn := halfDelivery(t, public, slow)
	eventually(t, 30*time.Second, "some are acknowledged", func() bool { return received() >= 200 })
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

	ledger["slow"] = r.ID
	for request, id := range ledger {
		wantNumber(t, db, 1, `SELECT count(*) FROM lumin.events WHERE id = $1 AND signature_request_id = $2`, id, request)
	}
	wantNumber(t, db, 0, `SELECT count(*) FROM lumin.events e
		WHERE 2 <> (SELECT count(*) FROM lumin.runs r WHERE r.event_key = e.event_key)`)
	wantNumber(t, db, 0, `SELECT count(*) FROM lumin.runs r WHERE state = 'pending' AND NOT EXISTS (
		SELECT FROM lumin.river_job j WHERE j.kind = r.job_kind AND j.args ->> 'event_key' = r.event_key::text
		AND j.state NOT IN ('completed', 'discarded', 'cancelled'))`)
	wantNumber(t, db, 0, `SELECT count(*) FROM lumin.river_job WHERE state = 'running'`)

	startProgram(t, serveEnv(url), "serve").waitReady()
	waitSettled(t, db)
	events := number(t, db, `SELECT count(*) FROM lumin.events`)
	wantNumber(t, db, events, `SELECT count(*) FROM lumin_test.effects`)
	wantNumber(t, db, events, `SELECT count(DISTINCT event_key) FROM lumin_test.effects`)
}

// half is a delivery of which the second half is still to be sent.
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
	// 100-continue is answered when the program begins to read.
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

// A second signal does not wait for anything.
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

// devEnv is an environment in which somebody has exported a database that dev
// must not touch, and the folder in which everything of dev's is.
func devEnv(t *testing.T, more ...string) (env []string, dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, open := range []string{filepath.Dir(dir), dir} { // as root, the server is another user's
		if err := os.Chmod(open, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	return append([]string{
		"TMPDIR=" + dir, "DATABASE_URL=postgres://somebody:" + otherSecret + "@127.0.0.1:1/production", "TEST_JOBS=stock",
		"LUMIN_ACCOUNT_API_KEYS=" + accountKey, "LISTEN_ADDR=127.0.0.1:0", "ADMIN_LISTEN_ADDR=127.0.0.1:0",
	}, more...), dir
}

func wantNothingLeft(t *testing.T, dir string) {
	t.Helper()
	eventually(t, 30*time.Second, "its folder is empty and no process works there", func() bool {
		left, err := os.ReadDir(dir)
		processes, psErr := exec.Command("ps", "-A", "-o", "args=").Output()
		return err == nil && psErr == nil && len(left) == 0 && !strings.Contains(string(processes), dir)
	})
}

func (p *program) waitServing() {
	p.tb.Helper()
	eventually(p.tb, 60*time.Second, "dev serves", func() bool {
		p.mustRun()
		return strings.Contains(p.stdout.String(), "Serving until Ctrl-C.")
	})
}

// Twice in a row, ended by Ctrl-C and by force.
func TestDev(t *testing.T) {
	t.Parallel()
	env, dir := devEnv(t)
	for _, end := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
		p := startProgram(t, env, "dev")
		p.waitServing()
		out := p.stdout.String()
		for _, want := range []string{
			`(?m)^signature_request_created +200 +recorded +\d+$`,
			`(?m)^signature_request_signed +200 +recorded +\d+$`,
			`(?m)^signature_request_approved, in the same millisecond +200 +recorded +\d+$`,
			`(?m)^signature_request_downloadable +200 +recorded +\d+$`,
			`(?m)^approved again, under a new token +200 +duplicate +\d+$`,
			`(?m)^approved as an app reports it +200 +recorded +\d+$`,
			`(?m)^approved with an altered byte +401 +signature_mismatch +-$`,
			`(?m)^demo_invoice failed and left 0 invoices. Repaired and replayed: 1 run, 1 invoice. A second replay: 0 runs, nothing to do.$`,
			`(?m)^demo_invoice +succeeded +1$`,
			`(?m)^signature_request_state +succeeded +5$`,
			`psql 'postgres://`, `/readyz`,
		} {
			if !regexp.MustCompile(want).MatchString(out) {
				t.Errorf("dev does not print %s", want)
			}
		}
		// The example of the documentation, which is from 2023.
		webhook := regexp.MustCompile(`POST (http://\S+/webhooks/account)`).FindStringSubmatch(out)
		if webhook == nil {
			t.Fatal("dev does not say where it listens")
		}
		for _, want := range []string{"recorded", "duplicate"} {
			if r := mustPost(t, webhook[1], []byte(documentedBody), documentedSignature); r.code != 200 || r.Status != want {
				t.Errorf("answered %d %s, want %s", r.code, r.body, want)
			}
		}
		p.signal(end)
		code := p.wait(10 * time.Second)
		if end == syscall.SIGINT && code != 0 {
			t.Errorf("Ctrl-C ended it with %d", code)
		}
		wantNothingLeft(t, dir)
	}
}

// Ctrl-C has to do before it serves as well.
func TestDevInterruptedAtStart(t *testing.T) {
	t.Parallel()
	for _, moment := range []string{"starting a private PostgreSQL", "Deliveries"} {
		env, dir := devEnv(t)
		p := startProgram(t, env, "dev")
		eventually(t, 30*time.Second, moment, func() bool { return strings.Contains(p.stdout.String(), moment) })
		p.signal(syscall.SIGINT)
		p.wait(10 * time.Second)
		if said := p.stdout.String(); strings.Contains(said, "Serving until Ctrl-C.") {
			t.Errorf("interrupted at %q it still says %q", moment, said)
		}
		if said := p.stderr.String(); strings.Count(said, "\n") > 3 {
			t.Errorf("interrupted at %q it complains: %s", moment, said)
		}
		wantNothingLeft(t, dir)
	}
}

func TestDevPortTaken(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	env, dir := devEnv(t, "LISTEN_ADDR="+taken.Addr().String())
	p := startProgram(t, env, "dev")
	if code := p.wait(60 * time.Second); code != 1 {
		t.Errorf("it ended with %d", code)
	}
	want := fmt.Sprintf("lumin-ingest: cannot listen on %s: bind: address already in use\n  end what listens there, or set LISTEN_ADDR or PORT to another address\n", taken.Addr())
	if got := p.stderr.String(); got != want {
		t.Errorf("it said %q, want %q", got, want)
	}
	wantNothingLeft(t, dir)
}

// Without addresses of its own, dev passes over ports that are taken, by another
// dev in this case, and says where it listens.
func TestDevTakesNextFreePorts(t *testing.T) {
	t.Parallel()
	listening := map[string]bool{}
	for n := range 2 {
		env, _ := devEnv(t, "LISTEN_ADDR=", "ADMIN_LISTEN_ADDR=")
		p := startProgram(t, env, "dev", "--no-demo")
		p.waitServing()
		out := p.stdout.String()
		webhook := regexp.MustCompile(`POST http://(127\.0\.0\.1:\d+)/webhooks/account`).FindStringSubmatch(out)
		admin := regexp.MustCompile(`http://(127\.0\.0\.1:\d+)/readyz`).FindStringSubmatch(out)
		if webhook == nil || admin == nil {
			t.Fatalf("it does not say where it listens: %s", out)
		}
		listening[webhook[1]], listening[admin[1]] = true, true
		eventually(t, 30*time.Second, "/readyz answers 200", func() bool {
			status, _ := get("http://" + admin[1] + "/readyz")
			return status == http.StatusOK
		})
		if n == 1 {
			for _, want := range []string{
				"127.0.0.1:8080 is in use: receiving deliveries on " + webhook[1], "127.0.0.1:8081 is in use: health and metrics are on " + admin[1],
			} {
				if !strings.Contains(out, want) {
					t.Errorf("it does not say %q", want)
				}
			}
		}
	}
	if len(listening) != 4 {
		t.Errorf("both listen on %v", listening)
	}
}

// A PORT that some platform has set opens dev, whose keys everybody knows, to
// nobody else.
func TestDevListensOnLoopback(t *testing.T) {
	t.Parallel()
	env, _ := devEnv(t, "LISTEN_ADDR=", "PORT=0", "TEST_JOBS=stock")
	p := startProgram(t, env, "dev", "--no-demo")
	p.waitServing()
	if out := p.stdout.String(); !regexp.MustCompile(`POST http://127\.0\.0\.1:\d+/`).MatchString(out) {
		t.Errorf("it listens elsewhere: %s", out)
	}
	p.signal(syscall.SIGTERM)
	p.wait(10 * time.Second)
}

// On a server that was named on purpose, with job types that fail there and are
// tried again for hours, it still gets to serving, and shows no password.
func TestDevOnNamedServer(t *testing.T) {
	t.Parallel()
	env, _ := devEnv(t, "DEV_DATABASE_URL="+pgtest.NewEmpty(t), "TEST_JOBS=")
	p := startProgram(t, env, "dev")
	p.waitServing()
	out := p.stdout.String()
	if found := leaks(out); len(found) > 0 {
		t.Errorf("it shows %q", found)
	}
	if !regexp.MustCompile(`(?m)^count_effects +pending +5 +.*"lumin_test.effects" does not exist`).MatchString(out) || !strings.Contains(out, `psql "$DEV_DATABASE_URL"`) {
		t.Errorf("it prints %s", out)
	}
	said := p.stderr.String()
	for _, want := range []string{`msg="attempt failed" kind=count_effects .*event_id=\d+ .*error=.*does not exist`} {
		if !regexp.MustCompile(want).MatchString(said) {
			t.Errorf("its log does not say %s: %s", want, said)
		}
	}
	if strings.Contains(said, "demo_invoice") {
		t.Errorf("its log shows what the demo breaks on purpose: %s", said)
	}
	p.signal(syscall.SIGINT)
	if code := p.wait(20 * time.Second); code != 0 {
		t.Errorf("Ctrl-C ended it with %d", code)
	}
}

// maxIdleKiB is what the stock program may take when it has nothing to do.
const maxIdleKiB = 40 << 10

// TestIdleMemory measures the real program, as it is built.
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
	// What the start left is given back after a while; the least within it counts.
	least, deadline := resident(t, p), time.Now().Add(10*time.Second)
	eventually(t, time.Minute, "it has been idle for ten seconds, or is small", func() bool {
		least = min(least, resident(t, p))
		return least <= maxIdleKiB || time.Now().After(deadline)
	})
	t.Logf("%.1f MiB resident when idle", float64(least)/1024)
	if least > maxIdleKiB {
		t.Errorf("more than %d MiB", maxIdleKiB>>10)
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
