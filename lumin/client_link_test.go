package lumin_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"lumin-ingest/internal/luminapi"
	"lumin-ingest/lumin"
)

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
