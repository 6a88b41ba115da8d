package app

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"lumin-ingest/internal/pgtest"
)

// The built-in job types can be tried in dev. What is set for them elsewhere, such
// as for production in somebody's shell, is named and not used.
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
