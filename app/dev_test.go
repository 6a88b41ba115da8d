//go:build unix

package app

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"lumin-ingest/internal/pgtest"
)

// devEnv returns an environment with a DATABASE_URL that dev must not use, and
// the folder in which dev keeps everything.
func devEnv(t *testing.T, more ...string) (env []string, dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, open := range []string{filepath.Dir(dir), dir} { // as root, the server runs as another user
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

// dev runs twice in a row, ended by Ctrl-C and by SIGKILL.
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
		wantSampleData(t, out)
		// The example in Lumin's documentation is from 2023.
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

// wantSampleData checks that the last lines of dev have the address of the dashboard,
// and that it shows the sample data.
func wantSampleData(t *testing.T, out string) {
	t.Helper()
	_, end, _ := strings.Cut(out, "\nLook at it:\n")
	dashboard := regexp.MustCompile(`^  (http://127\.0\.0\.1:\d+)/   the dashboard   sample data; its pictures of the last month are made up\n`).FindStringSubmatch(end)
	if dashboard == nil || !strings.HasSuffix(end, "\nServing until Ctrl-C.\n") {
		t.Fatalf("dev ends with %q", end)
	}
	for path, want := range map[string]string{
		"/?range=month": `id="deliveries-table"`, "/failures": `>demo_mail</a>`, "/failures?state=dismissed": "test data of the demo",
		"/conflicts": `href="/events/`, "/unrecognized": `href="/events/`, "/lanes": `aria-label="Skip event `,
	} {
		eventually(t, 30*time.Second, path+" of the dashboard has "+want, func() bool {
			status, page := get(dashboard[1] + path)
			return status == http.StatusOK && strings.Contains(page, want)
		})
	}
}

// Ctrl-C also works before dev serves.
func TestDevInterruptedAtStart(t *testing.T) {
	t.Parallel()
	for _, moment := range []string{"starting a private PostgreSQL", "Deliveries"} {
		env, dir := devEnv(t)
		p := startProgram(t, env, "dev")
		eventually(t, 30*time.Second, moment, func() bool { return strings.Contains(p.stdout.String(), moment) })
		p.signal(syscall.SIGINT)
		p.wait(10 * time.Second)
		if said := p.stdout.String(); strings.Contains(said, "Serving until Ctrl-C.") {
			t.Errorf("interrupted at %q it still prints %q", moment, said)
		}
		if said := p.stderr.String(); strings.Count(said, "\n") > 3 {
			t.Errorf("interrupted at %q it prints errors: %s", moment, said)
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
	want := fmt.Sprintf("lumin-ingest: cannot listen on %s: bind: address already in use\n  stop the program that listens there, or set LISTEN_ADDR or PORT to another address\n", taken.Addr())
	if got := p.stderr.String(); got != want {
		t.Errorf("it said %q, want %q", got, want)
	}
	wantNothingLeft(t, dir)
}

// Without configured addresses, dev skips ports that are in use, here by
// another dev, and prints where it listens.
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

// With a PORT that a platform has set, dev still listens on loopback only: its
// keys are public.
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

// On a server from DEV_DATABASE_URL, with job types that fail there and are
// retried for hours, dev still begins to serve. It shows no password.
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

// The built-in job types can be tried in dev. Their settings for serve, which a
// shell may have for production, are named and ignored.
func TestDevBuiltIn(t *testing.T) {
	t.Parallel()
	var forwarded atomic.Int32
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		forwarded.Add(1)
	}))
	t.Cleanup(receiver.Close)
	archive := t.TempDir()
	env, _ := devEnv(t, "DEV_DATABASE_URL="+pgtest.NewEmpty(t), "FORWARD_URLS=production=http://127.0.0.1:1/",
		"DEV_FORWARD_URLS=crm="+receiver.URL, "DEV_FORWARD_SECRETS=crm=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
		"DEV_FORWARD_ALLOW_NETWORKS=crm=127.0.0.0/8", "DEV_RECONCILE_EVERY=1h")
	p := startProgram(t, env, "dev", "--archive-url", "file://"+archive)
	p.waitServing()
	out := p.stdout.String()
	for _, want := range []string{
		`(?m)^archive_contract +succeeded +1$`, `(?m)^forward_crm +succeeded +5$`,
		`FORWARD_URLS is set, but dev ignores it: set DEV_FORWARD_URLS, or the flag`, `A stand-in for Lumin's API at http://127`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("dev does not print %s:\n%s", want, out)
		}
	}
	if forwarded.Load() < 5 {
		t.Errorf("%d events were forwarded", forwarded.Load())
	}
	files, err := os.ReadDir(archive)
	if err != nil || len(files) == 0 {
		t.Errorf("nothing was archived: %v", err)
	}
	p.signal(syscall.SIGINT)
	if code := p.wait(20 * time.Second); code != 0 || strings.Contains(p.stderr.String(), "level=ERROR") {
		t.Errorf("it ended with %d: %s", code, p.stderr)
	}
}
