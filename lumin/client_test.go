package lumin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lumin-ingest/internal/luminapi"
	"lumin-ingest/lumin"
)

func newAPI(t *testing.T) *luminapi.Server {
	t.Helper()
	api := luminapi.New()
	t.Cleanup(api.Close)
	return api
}

// wantNoLeak fails the test if an error contains a URL or a secret.
func wantNoLeak(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Error("no error")
		return
	}
	for _, secret := range []string{"canary", "ada@", "://", "token=", "signature_request/"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%q contains %q", err, secret)
		}
	}
}

func TestNewClient(t *testing.T) {
	t.Parallel()
	for base, good := range map[string]bool{
		"": true, lumin.APIURL: true, lumin.SandboxAPIURL: true, "https://example.com/": true, "http://localhost:1/v1": true,
		"http://127.0.0.1": true, "http://[::1]:8080": true, "http://127.9.9.9": true,
		"http://example.com": false, "http://localhost.example.com": false, "http://10.0.0.1": false, "ftp://localhost": false,
		"https://": false, "canary": false, "https://canary:canary@example.com": false, "https://example.com?canary=1": false,
		"https://example.com#canary": false, "https://exa mple.com/canary": false, "https:canary": false, "http://0.0.0.0": false,
	} {
		_, err := lumin.NewClient(lumin.ClientConfig{BaseURL: base, APIKey: "canary"})
		if (err == nil) != good {
			t.Errorf("%q: %v", base, err)
		}
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %v", base, err)
		}
	}
	for _, cfg := range []lumin.ClientConfig{
		{}, {APIKey: "canary", Token: "canary"}, {APIKey: "canary\n"}, {Token: "canary canary"}, {APIKey: "canaryé"},
	} {
		_, err := lumin.NewClient(cfg)
		wantNoLeak(t, err)
	}
}

func TestSignatureRequestOf(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.SetRequest("fa5c8a0b", map[string]any{"status": "APPROVED", "title": "T", "expires_at": 1694664207595})
	before := time.Now().Truncate(time.Second)
	got, asOf, err := api.Client().SignatureRequest(t.Context(), "fa5c8a0b")
	if err != nil {
		t.Fatal(err)
	}
	if *got.ID != "fa5c8a0b" || *got.Status != lumin.StatusApproved || *got.Title != "T" || got.ExpiresAt.UnixMilli() != 1694664207595 || got.Reason != nil {
		t.Errorf("%+v", got)
	}
	if asOf.Before(before) || asOf.After(time.Now()) || asOf.Nanosecond() != 0 || asOf.Location() != time.UTC {
		t.Errorf("as of %v", asOf)
	}
	requests := api.Requests()
	if len(requests) != 1 || requests[0].Method != "GET" || requests[0].URI != "/v1/signature_request/fa5c8a0b" ||
		requests[0].Header.Get("X-API-Key") != luminapi.APIKey || requests[0].Header.Get("Authorization") != "" {
		t.Errorf("%+v", requests)
	}
}

func TestBearerToken(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.SetRequest("a", map[string]any{})
	client, err := lumin.NewClient(lumin.ClientConfig{BaseURL: api.URL() + "/", Token: luminapi.Token})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := client.SignatureRequest(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	if header := api.Requests()[0].Header; header.Get("Authorization") != "Bearer "+luminapi.Token || header.Get("X-API-Key") != "" {
		t.Error(header)
	}
}

// asOf comes from Lumin's clock, and from the local clock only if the response
// has no valid Date.
func TestAsOf(t *testing.T) {
	t.Parallel()
	local := time.Date(2026, 7, 1, 12, 0, 0, 987654321, time.FixedZone("", 3600))
	for date, want := range map[string]time.Time{
		"Thu, 14 Sep 2023 04:03:27 GMT": time.Date(2023, 9, 14, 4, 3, 27, 0, time.UTC),
		"":                              time.Date(2026, 7, 1, 11, 0, 0, 0, time.UTC),
		"yesterday":                     time.Date(2026, 7, 1, 11, 0, 0, 0, time.UTC),
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Date"] = nil // stops net/http from adding one
			if date != "" {
				w.Header().Set("Date", date)
			}
			fmt.Fprint(w, `{"signature_request":{}}`)
		}))
		client, err := lumin.NewClient(lumin.ClientConfig{BaseURL: server.URL, APIKey: "k"})
		if err != nil {
			t.Fatal(err)
		}
		_, asOf, err := client.At(local).SignatureRequest(t.Context(), "a")
		if err != nil || !asOf.Equal(want) {
			t.Errorf("%q: as of %v, %v; want %v", date, asOf, err, want)
		}
		server.Close()
	}
}

// An id never leads to the path of another resource.
func TestIDs(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	client := api.Client()
	for _, id := range []string{"a b", "a/b", "a?b=c", "a#b", "%2e%2e", "...", "é\u202e", "a\x00\r\nb", ".a", "a..", "💥", `a\b`} {
		api.SetRequest(id, map[string]any{"title": "of " + id})
		got, _, err := client.SignatureRequest(t.Context(), id)
		if err != nil || *got.Title != strings.ReplaceAll("of "+id, "\x00", "") {
			t.Errorf("%q: %+v, %v", id, got, err)
		}
	}
	asked := len(api.Requests())
	for _, id := range []string{"", ".", "..", "../x", "a/../../b", `a\..\b`, "a/."} {
		if _, _, err := client.SignatureRequest(t.Context(), id); !errors.Is(err, lumin.ErrInvalidID) {
			t.Errorf("%q: %v", id, err)
		}
		if _, err := client.File(t.Context(), id, lumin.FileAgreement); !errors.Is(err, lumin.ErrInvalidID) {
			t.Errorf("%q: %v", id, err)
		}
	}
	if _, err := client.File(t.Context(), "a", "canary&x=y"); err == nil {
		t.Error("an undocumented file type was accepted")
	} else {
		wantNoLeak(t, err)
	}
	if n := len(api.Requests()); n != asked {
		t.Errorf("%d requests for invalid ids", n-asked)
	}
}

func TestAPIError(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		fault     luminapi.Fault
		status    int
		wait      time.Duration
		temporary bool
	}{
		{luminapi.Fine(), 404, 0, false},
		{luminapi.Status(400), 400, 0, false},
		{luminapi.Status(403), 403, 0, false},
		{luminapi.Status(408), 408, 0, true},
		{luminapi.Status(425), 425, 0, true},
		{luminapi.Status(429, "Retry-After", "7"), 429, 7 * time.Second, true},
		{luminapi.Status(500), 500, 0, true},
		{luminapi.Status(503, "Retry-After", "999999999"), 503, lumin.MaxRetryAfter, true},
		{luminapi.Status(599), 599, 0, true},
		{luminapi.Status(202), 202, 0, false},
		{luminapi.Status(302, "Location", "/v1/canary"), 302, 0, false},
		{luminapi.Status(307, "Location", "/v1/canary"), 307, 0, false},
	} {
		t.Run(fmt.Sprint(test.status), func(t *testing.T) {
			t.Parallel()
			api := newAPI(t)
			api.Next(test.fault, test.fault)
			_, _, err := api.Client().SignatureRequest(t.Context(), "unknown")
			_, fileErr := api.Client().File(t.Context(), "unknown", lumin.FileAgreement)
			for _, err := range []error{err, fileErr} {
				var answer *lumin.APIError
				if !errors.As(err, &answer) || answer.StatusCode != test.status || answer.RetryAfter != test.wait || answer.Temporary() != test.temporary || answer.Link {
					t.Errorf("%v: %+v", err, answer)
				}
				wantNoLeak(t, err)
				if !strings.Contains(err.Error(), fmt.Sprint(test.status)) {
					t.Errorf("%q does not contain the status", err)
				}
			}
			if n := len(api.Requests()); n != 2 {
				t.Errorf("%d requests, want 2", n)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	in := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for text, want := range map[string]time.Duration{
		"": 0, "soon": 0, "-5": 0, "1.5": 0, "0x10": 0, "Wed, 99 Jul 2026 12:00:00 GMT": 0,
		"0": time.Second, "1": time.Second, " 30 ": 30 * time.Second, "86400": lumin.MaxRetryAfter, "86401": lumin.MaxRetryAfter,
		"99999999999999999999999999": lumin.MaxRetryAfter, "4294967295": lumin.MaxRetryAfter,
		in(90 * time.Second): 90 * time.Second, in(-time.Hour): time.Second, in(480 * time.Hour): lumin.MaxRetryAfter,
	} {
		if got := lumin.RetryAfter(text, now); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// Errors contain nothing from a response, even after network failures and
// malformed responses.
func TestStateErrors(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]luminapi.Fault{
		"not JSON":     luminapi.Answer("application/json", "canary"),
		"no object":    luminapi.Answer("application/json", `{"canary":1}`),
		"too long":     luminapi.Answer("application/json", `{"signature_request":{},"x":"`+strings.Repeat("canary", 200_000)+`"}`),
		"truncated":    luminapi.Truncated(),
		"bad location": luminapi.Status(302, "Location", "http://[canary"),
		"lost":         luminapi.Status(101, "Upgrade", "canary", "Connection", "Upgrade"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := newAPI(t)
			api.SetRequest("a", map[string]any{"title": "canary"})
			api.Next(fault)
			got, asOf, err := api.Client().SignatureRequest(t.Context(), "a")
			wantNoLeak(t, err)
			if got != (lumin.SignatureRequest{}) || !asOf.IsZero() {
				t.Errorf("%+v, as of %v", got, asOf)
			}
			if name == "truncated" && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Error(err)
			}
		})
	}
	t.Run("connection refused", func(t *testing.T) {
		t.Parallel()
		api := luminapi.New()
		client := api.Client()
		api.Close()
		_, _, err := client.SignatureRequest(t.Context(), "canary")
		wantNoLeak(t, err)
	})
}

// A call ends when its context ends, and the error wraps the reason.
func TestEndedContext(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]luminapi.Fault{"silent": luminapi.Silent(), "stalled": luminapi.Stalled()} {
		for _, want := range []error{context.DeadlineExceeded, context.Canceled} {
			t.Run(name+" "+want.Error(), func(t *testing.T) {
				t.Parallel()
				api := newAPI(t)
				api.SetRequest("a", map[string]any{"title": strings.Repeat("x", 10_000)})
				api.SetFile("a", lumin.FileAgreement, luminapi.PDF(10_000))
				api.UseLinks(false)
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				defer cancel()
				if want == context.Canceled {
					ctx, cancel = context.WithCancel(t.Context())
					defer cancel()
					time.AfterFunc(50*time.Millisecond, cancel)
				}
				api.Next(fault, fault)
				_, _, err := api.Client().SignatureRequest(ctx, "a")
				if wantNoLeak(t, err); !errors.Is(err, want) {
					t.Error(err)
				}
				if _, err = fetch(ctx, api.Client(), "a"); !errors.Is(err, want) {
					t.Error(err)
				}
				wantNoLeak(t, err)
			})
		}
	}
}
