package lumin_test

import (
	"bytes"
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

// fetch downloads the agreement.
func fetch(ctx context.Context, client *lumin.Client, id string) ([]byte, error) {
	file, err := client.File(ctx, id, lumin.FileAgreement)
	if err != nil {
		return nil, err
	}
	defer file.Body.Close()
	return io.ReadAll(file.Body)
}

// The file and the link to it give the same result, and only Lumin gets the
// key.
func TestFile(t *testing.T) {
	t.Parallel()
	for _, links := range []bool{false, true} {
		for _, fileType := range []lumin.FileType{lumin.FileAgreement, lumin.FileCoC, lumin.FileMerged} {
			t.Run(fmt.Sprint(fileType, " by link ", links), func(t *testing.T) {
				t.Parallel()
				api := newAPI(t)
				want := luminapi.PDF(100_000)
				api.SetFile("a/b", fileType, want)
				api.UseLinks(links)
				file, err := api.Client().File(t.Context(), "a/b", fileType)
				if err != nil {
					t.Fatal(err)
				}
				defer file.Body.Close()
				got, err := io.ReadAll(file.Body)
				if err != nil || !bytes.Equal(got, want) || file.Size != int64(len(want)) {
					t.Errorf("%d bytes of %d, size %d: %v", len(got), len(want), file.Size, err)
				}
				if n, err := file.Body.Read(make([]byte, 1)); n != 0 || err != io.EOF {
					t.Errorf("after the end: %d, %v", n, err)
				}
				asked, followed := api.Requests(luminapi.API), api.Requests(luminapi.Links)
				if len(asked) != 1 || asked[0].URI != "/v1/signature_request/a%2Fb/file?type="+string(fileType) || asked[0].Header.Get("X-API-Key") != luminapi.APIKey {
					t.Errorf("asked %+v", asked)
				}
				if (len(followed) == 1) != links {
					t.Errorf("%d links followed", len(followed))
				}
				for _, r := range followed {
					if header := fmt.Sprint(r.Header); strings.Contains(header, "canary") || r.Header.Get("Referer") != "" {
						t.Errorf("the host of the link got %s", header)
					}
				}
			})
		}
	}
}

// The live service refuses an Accept header with two types. If a service offers
// only one form, the second request asks for that form.
func TestFileForms(t *testing.T) {
	t.Parallel()
	for only, want := range map[string]string{
		"": "[application/json]", "application/json": "[application/json]",
		"application/pdf": "[application/json application/pdf]", "image/png": "[application/json application/pdf]",
	} {
		api := newAPI(t)
		api.SetFile("a", lumin.FileAgreement, luminapi.PDF(1000))
		api.Only(only)
		got, err := fetch(t.Context(), api.Client(), "a")
		var answer *lumin.APIError
		if good := only != "image/png"; good && (err != nil || len(got) != 1000) || !good && (!errors.As(err, &answer) || answer.StatusCode != 406) {
			t.Errorf("%s: %d bytes, %v", only, len(got), err)
		}
		var asked []string
		for _, r := range api.Requests(luminapi.API) {
			asked = append(asked, strings.Join(r.Header.Values("Accept"), " and "))
		}
		if fmt.Sprint(asked) != want {
			t.Errorf("%s: asked for %s", only, asked)
		}
	}
}

// Lumin documents signed_url and seconds. The live service answers with
// download_url and milliseconds.
func TestLinkForms(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	now := time.Now().Truncate(time.Second)
	const good, other = `"http://LINKS/agreement/a?token=canary-link-token"`, `"http://LINKS/other"`
	for name, test := range map[string]struct {
		answer string
		fresh  bool
	}{
		"documented":                 {fmt.Sprintf(`{"signed_url":%s,"expires_at":%d}`, good, now.Unix()+60), true},
		"documented, expired":        {fmt.Sprintf(`{"signed_url":%s,"expires_at":%d}`, good, now.Unix()-1), false},
		"live":                       {fmt.Sprintf(`{"download_url":%s,"expires_at":%d}`, good, now.UnixMilli()+60_000), true},
		"live, expired":              {fmt.Sprintf(`{"download_url":%s,"expires_at":%d}`, good, now.UnixMilli()-1000), false},
		"both":                       {fmt.Sprintf(`{"download_url":%s,"signed_url":%s,"expires_at":%d}`, other, good, now.UnixMilli()+60_000), true},
		"an empty one":               {fmt.Sprintf(`{"download_url":%s,"signed_url":""}`, good), true},
		"null":                       {fmt.Sprintf(`{"download_url":%s,"signed_url":null,"expires_at":null}`, good), true},
		"a string":                   {fmt.Sprintf(`{"signed_url":%s,"expires_at":"%d"}`, good, now.UnixMilli()+60_000), true},
		"a string, expired":          {fmt.Sprintf(`{"signed_url":%s,"expires_at":"%d"}`, good, now.Unix()-1), false},
		"an unsupported date format": {fmt.Sprintf(`{"signed_url":%s,"expires_at":"2020-01-01T00:00:00Z"}`, good), true},
	} {
		api.SetFile("a", lumin.FileAgreement, luminapi.PDF(1000))
		before := len(api.Requests(luminapi.API))
		answer := strings.ReplaceAll(test.answer, "http://LINKS", api.LinkURL())
		api.Next(luminapi.Answer("application/json", answer))
		got, err := fetch(t.Context(), api.Client(), "a")
		if err != nil || len(got) != 1000 {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if again := len(api.Requests(luminapi.API)) - before; (again == 1) != test.fresh {
			t.Errorf("%s: asked %d times", name, again)
		}
	}
}

// If a link has expired or is refused, a new link is requested once.
func TestRejectedLink(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		api, links      []luminapi.Fault
		asked, followed int
		good            bool
	}{
		"expired":           {[]luminapi.Fault{luminapi.ExpiredLink()}, nil, 2, 1, true},
		"expired twice":     {[]luminapi.Fault{luminapi.ExpiredLink(), luminapi.ExpiredLink()}, nil, 2, 0, false},
		"refused":           {nil, []luminapi.Fault{luminapi.Status(403)}, 2, 2, true},
		"refused by a 400":  {nil, []luminapi.Fault{luminapi.Status(400)}, 2, 2, true},
		"refused twice":     {nil, []luminapi.Fault{luminapi.Status(403), luminapi.Status(403)}, 2, 2, false},
		"expired, refused":  {[]luminapi.Fault{luminapi.ExpiredLink()}, []luminapi.Fault{luminapi.Status(403)}, 2, 1, false},
		"host is busy":      {nil, []luminapi.Fault{luminapi.Status(503)}, 1, 1, false},
		"host redirects":    {nil, []luminapi.Fault{luminapi.Status(302, "Location", "/canary")}, 1, 1, false},
		"API refuses a key": {[]luminapi.Fault{luminapi.Status(403)}, nil, 1, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := newAPI(t)
			api.SetFile("a", lumin.FileAgreement, luminapi.PDF(1000))
			api.Next(test.api...)
			api.NextLink(test.links...)
			got, err := fetch(t.Context(), api.Client(), "a")
			if (err == nil) != test.good || test.good && len(got) != 1000 {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if !test.good {
				wantNoLeak(t, err)
			}
			var answer *lumin.APIError
			if errors.As(err, &answer) && answer.Link != (test.followed > 0) {
				t.Errorf("%+v", answer)
			}
			if asked, followed := len(api.Requests(luminapi.API)), len(api.Requests(luminapi.Links)); asked != test.asked || followed != test.followed {
				t.Errorf("asked %d times, followed %d links; want %d, %d", asked, followed, test.asked, test.followed)
			}
		})
	}
}

// Invalid links are not followed.
func TestInvalidLink(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]luminapi.Fault{
		"http to another host": luminapi.LinkTo("http://192.0.2.1/canary?token=canary"),
		"a file":               luminapi.LinkTo("file:///canary"),
		"no host":              luminapi.LinkTo("https:///canary"),
		"relative":             luminapi.LinkTo("/canary"),
		"no link":              luminapi.Answer("application/json", `{"canary":1}`),
		"not a URL":            luminapi.LinkTo("http://[canary"),
		"another type":         luminapi.Answer("application/json", `{"signed_url":["canary"]}`),
		"a bad expiry":         luminapi.Answer("application/json", `{"signed_url":"http://127.0.0.1/canary","expires_at":"canary"}`),
		"not JSON":             luminapi.Answer("application/json", `canary`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := newAPI(t)
			api.Next(fault)
			_, err := fetch(t.Context(), api.Client(), "a")
			wantNoLeak(t, err)
			if n := len(api.Requests()); n != 1 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

// A link to a loopback host is followed only if the API is on a loopback host
// too.
func TestLinkToLoopback(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	transport := roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.URL.Host != "api.luminpdf.com" {
			t.Error("a link on this machine was followed")
		}
		return &http.Response{
			StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Request: r,
			Body: io.NopCloser(strings.NewReader(`{"signed_url":"` + api.LinkURL() + `/x","expires_at":4102444800}`)),
		}, nil
	})
	client, err := lumin.NewClient(lumin.ClientConfig{APIKey: "k", HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = fetch(t.Context(), client, "a")
	wantNoLeak(t, err)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Content that is not a complete PDF is an error, in both forms.
func TestBadFile(t *testing.T) {
	t.Parallel()
	const size = 100_000
	pdf := "application/pdf"
	for name, test := range map[string]struct {
		fault luminapi.Fault
		want  error
	}{
		"truncated":            {luminapi.Truncated(), io.ErrUnexpectedEOF},
		"truncated, no length": {luminapi.TruncatedUntold(), io.ErrUnexpectedEOF},
		"empty":                {luminapi.Answer(pdf, ""), nil},
		"short":                {luminapi.Answer(pdf, "%PD"), nil},
		"a web page":           {luminapi.Answer("text/html", "<html>canary</html>"), nil},
		"a false PDF":          {luminapi.Answer(pdf, "<html>canary</html>"), nil},
		"too large":            {luminapi.Answer(pdf, string(luminapi.PDF(size+1))), lumin.ErrFileTooLarge},
	} {
		for _, links := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " by link ", links), func(t *testing.T) {
				t.Parallel()
				api := newAPI(t)
				api.SetFile("a", lumin.FileAgreement, luminapi.PDF(size))
				if api.UseLinks(links); links {
					api.NextLink(test.fault)
				} else {
					api.Next(test.fault)
				}
				_, err := fetch(t.Context(), api.Client().Limit(size), "a")
				if wantNoLeak(t, err); test.want != nil && !errors.Is(err, test.want) {
					t.Error(err)
				}
			})
		}
	}
}

// Without a Content-Length, the size limit and the end of the file are checked
// while reading.
func TestUnknownLength(t *testing.T) {
	t.Parallel()
	const size = 100_000
	api := newAPI(t)
	api.SetFile("a", lumin.FileAgreement, luminapi.PDF(size))
	api.UseLinks(false)
	for limit, want := range map[int64]error{size: nil, size - 1: lumin.ErrFileTooLarge} {
		api.Next(luminapi.Untold())
		file, err := api.Client().Limit(limit).File(t.Context(), "a", lumin.FileAgreement)
		if err != nil || file.Size != -1 {
			t.Fatalf("%+v, %v", file, err)
		}
		got, err := io.ReadAll(file.Body)
		if !errors.Is(err, want) || int64(len(got)) > limit || want == nil && len(got) != size {
			t.Errorf("limit %d: %d bytes, %v", limit, len(got), err)
		}
		file.Body.Close()
	}
}
