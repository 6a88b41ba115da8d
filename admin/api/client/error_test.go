package client_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"lumin-ingest/admin/api/client"
	"lumin-ingest/internal/advice"
	"lumin-ingest/store"
)

const canary = "canary-token"

// The errors that a person meets say what is wrong, and what to do.
func TestErrors(t *testing.T) {
	t.Parallel()
	const problem = `{"type":"about:blank","title":"T","status":%d,"code":%q,"detail":"the detail"}`
	for name, test := range map[string]struct {
		status    int
		kind      string // content type
		body      string
		what, do  string
		temporary bool
	}{
		"wrong token":        {401, "application/problem+json", fmt.Sprintf(problem, 401, "not_signed_in"), "does not accept the token", "--token-file", false},
		"missing role":       {403, "application/problem+json", fmt.Sprintf(problem, 403, "role_missing"), "the detail", "use a token with that role", false},
		"older server":       {404, "application/problem+json", fmt.Sprintf(problem, 404, "unknown_operation"), "has no such operation", "upgrade the server", false},
		"server of before":   {404, "text/plain", "404 page not found", "is not the API of lumin-ingest", "address of the admin listener", false},
		"sign-in page":       {200, "text/html", "<html>sign in</html>", "is not the API of lumin-ingest", "behind a proxy with a sign-in page", false},
		"refused by a proxy": {403, "text/html", "<html>forbidden</html>", "is not the API of lumin-ingest", "behind a proxy with a sign-in page", false},
		"no JSON":            {200, "application/json", "<html>", "is not the API of lumin-ingest", "address of the admin listener", false},
		"broken program":     {500, "application/problem+json", fmt.Sprintf(problem, 500, "internal"), "the detail", "", false},
		"proxy without it":   {502, "text/html", "<html>bad gateway</html>", "answers 502 Bad Gateway", "check that the program behind this address runs", true},
		"database gone":      {503, "application/problem+json", fmt.Sprintf(problem, 503, "database_unreachable"), "the detail", "try again later", true},
		"too many attempts":  {429, "application/problem+json", fmt.Sprintf(problem, 429, "too_many_attempts"), "the detail", "try again later", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", test.kind)
				w.WriteHeader(test.status)
				fmt.Fprint(w, test.body)
			}))
			defer server.Close()
			expect(t, ask(t, client.Config{Server: server.URL, Token: canary}), test.what, test.do, test.temporary)
		})
	}
}

// expect checks the two lines of an error.
func expect(t *testing.T, err error, what, do string, temporary bool) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	problem, remedy := advice.Of(err)
	if !strings.Contains(problem, what) || !strings.Contains(remedy, do) || do == "" && remedy != "" {
		t.Errorf("%s\n%s\nwant %q and %q", problem, remedy, what, do)
	}
	if strings.Contains(problem+remedy, canary) {
		t.Errorf("the error shows a secret: %s, %s", problem, remedy)
	}
	if client.Temporary(err) != temporary {
		t.Errorf("temporary: %v", !temporary)
	}
}

func ask(t *testing.T, cfg client.Config) error {
	t.Helper()
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Event(t.Context(), 1)
	return err
}

func TestNoToken(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"status":401,"code":"not_signed_in","detail":"Send a token."}`)
	}))
	defer server.Close()
	expect(t, ask(t, client.Config{Server: server.URL}), "needs a token", "--token-file", false)
}

// A redirection is not followed: the other host would get the token.
func TestRedirection(t *testing.T) {
	t.Parallel()
	followed := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed = true }))
	defer other.Close()
	server := httptest.NewServer(http.RedirectHandler(other.URL+"/sign-in?state="+canary, http.StatusFound))
	defer server.Close()
	expect(t, ask(t, client.Config{Server: server.URL, Token: canary}), "redirects to "+other.URL, "write the final address in --server", false)
	if followed {
		t.Error("the redirection was followed")
	}
}

func TestUnreachableServers(t *testing.T) {
	t.Parallel()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for name, test := range map[string]struct {
		cfg       client.Config
		what, do  string
		temporary bool
	}{
		"unknown issuer":   {client.Config{Server: secure.URL}, "certificate", "SSL_CERT_FILE", false},
		"no HTTPS":         {client.Config{Server: strings.Replace(plain.URL, "http:", "https:", 1)}, "does not answer", "write http:// in --server", false},
		"no listener":      {client.Config{Server: gone.URL}, "connection refused", "check --server and whether the program runs there", true},
		"another name":     {client.Config{Server: strings.Replace(secure.URL, "127.0.0.1", "localhost", 1), Transport: secure.Client().Transport}, "certificate", "name the server as its certificate does", false},
		"HTTPS with http:": {client.Config{Server: strings.Replace(secure.URL, "https:", "http:", 1)}, "is not the API of lumin-ingest", "address of the admin listener", false},
	} {
		t.Run(name, func(t *testing.T) { expect(t, ask(t, test.cfg), test.what, test.do, test.temporary) })
	}
}

// A text that is no token is refused before it is sent, and is not shown.
func TestNotAToken(t *testing.T) {
	t.Parallel()
	for _, text := range []string{canary + " " + canary, canary + "\n" + canary, "\t" + canary, canary + "\x00", "\u201c" + canary, canary + "\x7f"} {
		if _, err := client.New(client.Config{Server: "https://ingest.example.com", Token: text}); !errors.Is(err, client.ErrToken) || strings.Contains(err.Error(), canary) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestServerURLs(t *testing.T) {
	t.Parallel()
	for server, want := range map[string]error{
		"https://ingest.example.com":        nil,
		"https://example.com/ingest/":       nil,
		"http://localhost:8081":             nil,
		"http://127.0.0.1:8081":             nil,
		"http://[::1]:8081":                 nil,
		"http://ingest.example.com":         client.ErrPlainHTTP,
		"http://10.0.0.1:8081":              client.ErrPlainHTTP,
		"http://localhost.example.com:8081": client.ErrPlainHTTP,
		"ingest.example.com":                client.ErrServer,
		"ingest.example.com:8081":           client.ErrServer,
		"localhost:8081":                    client.ErrServer,
		"127.0.0.1:8081":                    client.ErrServer,
		"https://":                          client.ErrServer,
		"https://ann:secret@example.com":    client.ErrServer,
		"https://example.com?token=secret":  client.ErrServer,
	} {
		if _, err := client.New(client.Config{Server: server, Token: canary}); !errors.Is(err, want) {
			t.Errorf("%s: %v", server, err)
		}
	}
	for _, cfg := range []client.Config{{Server: "http://10.0.0.1:8081"}, {Server: "http://10.0.0.1:8081", Token: canary, PlainHTTP: true}} {
		if _, err := client.New(cfg); err != nil {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}

// The errors of the rooms in store can be told apart, as in a window on a database.
func TestErrorsMatch(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"status":404,"code":"no_such_record","detail":"event 1: not found"}`)
	}))
	defer server.Close()
	if err := ask(t, client.Config{Server: server.URL}); !errors.Is(err, store.ErrNotFound) {
		t.Error(err)
	}
}
