package forward_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lumin-ingest/lumin"
	"lumin-ingest/worker"
	"lumin-ingest/worker/jobs/forward"
)

const (
	forwardAccountKey = "canary_account_key"
	queryCanary       = "canary_query_token"
	answerCanary      = "canary_answer"
)

// forwardSecret returns a secret with a key of this many bytes.
func forwardSecret(letter string, length int) string {
	return "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(letter, length)))
}

func loopback() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }

// receiver is a target that records its requests.
type receiver struct {
	*httptest.Server
	mu   sync.Mutex
	got  []received
	conn atomic.Int32 // connections that were made to it
}

type received struct {
	header http.Header
	body   []byte
	method string
	uri    string
}

// newReceiver starts a target that answers request n, counted from 1, with
// answer.
func newReceiver(t *testing.T, answer func(w http.ResponseWriter, r *http.Request, n int)) *receiver {
	t.Helper()
	r := unstarted(answer)
	r.Start()
	t.Cleanup(r.Close)
	return r
}

func unstarted(answer func(w http.ResponseWriter, r *http.Request, n int)) *receiver {
	r := &receiver{}
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		r.got = append(r.got, received{req.Header.Clone(), body, req.Method, req.RequestURI})
		n := len(r.got)
		r.mu.Unlock()
		answer(w, req, n)
	}))
	r.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			r.conn.Add(1)
		}
	}
	r.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	return r
}

// status answers with one status and a body that must not appear anywhere.
func status(code int, headers ...string) func(http.ResponseWriter, *http.Request, int) {
	return func(w http.ResponseWriter, _ *http.Request, _ int) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(code)
		fmt.Fprint(w, answerCanary)
	}
}

// target forwards to a URL on this machine.
func target(name, to string) forward.Target {
	return forward.Target{
		Name: name, URL: to + "/hook?token=" + queryCanary,
		Secrets: []string{forwardSecret("a", 32)}, AllowNetworks: loopback(),
	}
}

func newForward(t *testing.T, target forward.Target) *forward.JobType {
	t.Helper()
	f, err := forward.New(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Transport().CloseIdleConnections)
	return f
}

func forwardedEvent() *worker.Event {
	payload := []byte("{\"b\":1,  \"a\":\"\\u00e9é\",\"details_url\":\"http://127.0.0.1:1/\"}\r\n")
	return &worker.Event{
		ID: 7, Key: lumin.EventKey{1, 2, 3}, Source: "account", Type: lumin.SignatureRequestSigned, Payload: payload,
		Signature: bytes.Repeat([]byte{0xAB}, 32), ReceivedAt: time.Now(), JobKind: "forward_crm",
	}
}

// noLeak fails the test if a text contains a secret.
func noLeak(t *testing.T, text string) {
	t.Helper()
	for _, canary := range []string{queryCanary, answerCanary, "whsec_", "YWFh", "canary_user"} {
		if strings.Contains(text, canary) {
			t.Errorf("%q contains %q", text, canary)
		}
	}
}
