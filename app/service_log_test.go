//go:build unix

package app

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"lumin-ingest/internal/sample"
	"lumin-ingest/lumin"
)

// logReader is a program whose standard error goes into a pipe, of which the
// test reads as much as it likes.
type logReader struct {
	*program
	from          *os.File
	lines         *bufio.Scanner
	public, admin string
}

// startWithReader starts serve, and reads its log until it says where it
// listens.
func startWithReader(t *testing.T, env []string) *logReader {
	t.Helper()
	from, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = from.Close() })
	p := startProgramWith(t, func(cmd *exec.Cmd) { cmd.Stderr = to }, "lumin-ingest", env, "serve")
	_ = to.Close()
	r := &logReader{program: p, from: from, lines: bufio.NewScanner(from)}
	r.admin, r.public = r.address("health and metrics"), r.address("receiving deliveries")
	eventually(t, 30*time.Second, "/readyz answers 200", r.ready)
	return r
}

// address reads the log up to a message, and returns the address in it.
func (r *logReader) address(message string) string {
	r.tb.Helper()
	for r.lines.Scan() {
		var entry struct{ Msg, Address string }
		if json.Unmarshal(r.lines.Bytes(), &entry) == nil && entry.Msg == message {
			return "http://" + entry.Address
		}
	}
	r.tb.Fatalf("the log does not say %q", message)
	return ""
}

func (r *logReader) ready() bool {
	status, _ := get(r.admin + "/readyz")
	return status == http.StatusOK
}

// deliverMany delivers more than a pipe holds lines of the log.
func (r *logReader) deliverMany(t *testing.T) {
	t.Helper()
	for n := range 500 {
		b := body(sample.Delivery{EventType: lumin.SignatureRequestSigned, SignatureRequestID: fmt.Sprint("unread-", n)})
		if reply := deliverTo(t, r.public, b); reply.code != http.StatusOK || reply.Status != "recorded" {
			t.Fatalf("delivery %d was answered %d %s", n, reply.code, reply.body)
		}
	}
	if !r.ready() {
		t.Error("/readyz does not answer 200")
	}
}

// mustStop ends the program, which must not take long, with or without a reader
// of its log.
func (r *logReader) mustStop(t *testing.T) {
	t.Helper()
	r.signal(syscall.SIGTERM)
	if code := r.wait(10 * time.Second); code != 0 {
		t.Errorf("it ended with %d, %v", code, r.cmd.ProcessState)
	}
}

// Without a reader of its log the program works, answers and stops as ever, and
// counts the unread lines.
func TestLogReaderGone(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	r := startWithReader(t, serveEnv(url))
	_ = r.from.Close()
	r.deliverMany(t)
	eventually(t, 10*time.Second, "the unread lines are counted", func() bool {
		_, metrics := get(r.admin + "/metrics")
		return regexp.MustCompile(`(?m)^lumin_log_lines_dropped_total [5-9]\d\d`).MatchString(metrics)
	})
	r.mustStop(t)
	wantNumber(t, connect(t, url), 500, `SELECT count(*) FROM lumin.events`)
}

// The same holds for a reader that has stopped reading. What fits waits for it.
func TestLogReaderStuck(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	r := startWithReader(t, serveEnv(url))
	r.deliverMany(t)
	r.mustStop(t)
	wantNumber(t, connect(t, url), 500, `SELECT count(*) FROM lumin.events`)
	delivered := 0
	for r.lines.Scan() {
		if strings.Contains(r.lines.Text(), `"msg":"delivery"`) {
			delivered++
		}
	}
	if delivered == 0 || delivered == 500 {
		t.Errorf("%d lines were in the pipe, so the reader was not stuck", delivered)
	}
}

// A dev whose output is not read serves, and ends.
func TestDevWithStuckOutput(t *testing.T) {
	t.Parallel()
	env, dir := devEnv(t, "LISTEN_ADDR="+freeAddress(t))
	from, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = from.Close() })
	fill(t, to)
	p := startProgramWith(t, func(cmd *exec.Cmd) { cmd.Stdout, cmd.Stderr = to, to }, "lumin-ingest", env, "dev")
	_ = to.Close()
	public := "http://" + strings.TrimPrefix(env[len(env)-1], "LISTEN_ADDR=")
	eventually(t, 60*time.Second, "a delivery is recorded", func() bool {
		p.mustRun()
		r, err := post(public+"/webhooks/account", []byte(documentedBody), documentedSignature)
		return err == nil && r.code == http.StatusOK
	})
	p.signal(syscall.SIGINT)
	if code := p.wait(20 * time.Second); code != 0 {
		t.Errorf("Ctrl-C ended it with %d", code)
	}
	wantNothingLeft(t, dir)
}

// A program that crashes ends, even if its last words do not fit into the pipe.
func TestCrashWithStuckOutput(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux can open a pipe anew")
	}
	from, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = from.Close() })
	fill(t, to)
	address := freeAddress(t)
	env := serveEnv(newDatabase(t), "LISTEN_ADDR="+address, "TEST_JOBS=crashing")
	p := startProgramWith(t, func(cmd *exec.Cmd) { cmd.Stdout, cmd.Stderr = to, to }, "lumin-ingest", env, "serve")
	_ = to.Close()
	b := body(sample.Delivery{EventType: lumin.SignatureRequestSigned})
	eventually(t, 30*time.Second, "a delivery is recorded", func() bool {
		r, err := post("http://"+address+"/webhooks/account", b, lumin.Sign(b, accountKey))
		return err == nil && r.code == http.StatusOK
	})
	if code := p.wait(15 * time.Second); code != 2 {
		t.Errorf("it ended with %d, %v, want the 2 of a panic", code, p.cmd.ProcessState)
	}
}

// fill writes into a pipe until it takes no more.
func fill(t *testing.T, pipe *os.File) {
	t.Helper()
	if err := pipe.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := pipe.Write(make([]byte, 2<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the pipe took everything: %v", err)
	}
}

// freeAddress is a loopback address that nothing listened on a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
