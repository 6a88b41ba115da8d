package manual

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"lumin-ingest/lumin"
)

// The example of the quick start works unchanged, except that it calls a server
// of this test.
func TestCurlExample(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"sh", "curl", "openssl", "sed"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("SKIPPED: %v", err)
		}
	}
	keyring, err := lumin.NewKeyring("my_primary_api_key")
	if err != nil {
		t.Fatal(err)
	}
	const answer = "as Lumin signs"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			_, err = keyring.Verify(body, r.Header)
		}
		if err != nil || r.Method != http.MethodPost || r.URL.Path != "/webhooks/account" || len(body) != 205 {
			t.Errorf("%s %s, %d bytes: %v", r.Method, r.URL.Path, len(body), err)
		}
		_, _ = io.WriteString(w, answer) // without an answer, the script would fail
	}))
	defer server.Close()

	var script string
	for _, b := range blocks(t, "docs/quick-start.md") {
		if b.language == "sh" && strings.Contains(b.text, "openssl") {
			script += b.text
		}
	}
	const documented = "http://127.0.0.1:8080"
	if strings.Count(script, documented) != 1 {
		t.Fatalf("the example calls %s %d times", documented, strings.Count(script, documented))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	command := exec.CommandContext(ctx, "sh", "-euc", strings.Replace(script, documented, server.URL, 1))
	command.Env = append(os.Environ(), "no_proxy=127.0.0.1")
	if output, err := command.Output(); err != nil || string(output) != answer {
		t.Errorf("printed %q, %v", output, err)
	}
}
