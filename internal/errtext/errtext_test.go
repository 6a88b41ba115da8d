package errtext_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/errtext"
)

func TestPlain(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "", "no": "no",
		"ping: context deadline exceeded":                                                            "ping: no answer in time",
		"no answer in time: context deadline exceeded":                                               "no answer in time",
		fmt.Sprintf("a: %v: %v", context.DeadlineExceeded, context.DeadlineExceeded):                 "a: no answer in time: no answer in time",
		`Get "http://x": context deadline exceeded (Client.Timeout exceeded while awaiting headers)`: `Get "http://x": no answer in time`,
	} {
		if got := errtext.Plain(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// The texts of today's libraries.
func TestPlainTextsOfLibraries(t *testing.T) {
	t.Parallel()
	done := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-done }))
	defer silent.Close()
	defer close(done)
	client := http.Client{Timeout: 20 * time.Millisecond}
	response, err := client.Get(silent.URL)
	if err == nil {
		response.Body.Close()
		t.Fatal("answered")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, pgErr := pgx.Connect(ctx, "postgres://u@"+strings.TrimPrefix(silent.URL, "http://")+"/d?sslmode=disable")
	if pgErr == nil {
		t.Fatal("connected")
	}
	for _, err := range []error{err, pgErr} {
		if got := errtext.Plain(err.Error()); strings.Contains(got, "deadline") || strings.Contains(got, "Client.Timeout") || !strings.Contains(got, "no answer in time") {
			t.Errorf("%q", got)
		}
	}
}
