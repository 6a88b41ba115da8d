package lumin_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"lumin-ingest/internal/luminapi"
	"lumin-ingest/lumin"
)

// The object is byte for byte what Lumin sent.
func TestStateObject(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	const object = "{ \"status\" :\"APPROVED\",\n \"title\":\"\\u00e9 é\", \"nested\":{\"a\":[1e400, \"}\"]} }"
	for body, want := range map[string]string{
		`{"signature_request":` + object + `}`:                                                             object,
		` {"other":{}, "signature_request" : ` + object + ` , "x":1 }`:                                     object,
		`{"signature_request":{"title":"first"},"signature_request":` + object + `,"signature_request":7}`: object,
	} {
		api.Next(luminapi.Answer("application/json", body))
		got, err := api.Client().State(t.Context(), "a")
		if err != nil || !bytes.Equal(got.Object, []byte(want)) || *got.Status != lumin.StatusApproved || got.AsOf.IsZero() {
			t.Errorf("%s: %q, %v", body, got.Object, err)
		}
	}
	for _, body := range []string{`{}`, `[]`, `{"signature_request":[]}`, `{"signature_request":{}`, ``} {
		api.Next(luminapi.Answer("application/json", body))
		got, err := api.Client().State(t.Context(), "a")
		if err == nil || got.Object != nil {
			t.Errorf("%q: %q, %v", body, got.Object, err)
		}
	}
	if got := api.Client().BaseURL(); got != api.URL() {
		t.Errorf("BaseURL is %s, want %s", got, api.URL())
	}
}

// atOnce does not delay a second request.
func atOnce(context.Context) error { return nil }

// HasFile asks once, follows no link, and keeps the connection.
func TestHasFile(t *testing.T) {
	t.Parallel()
	has := func(api *luminapi.Server, id string) bool {
		t.Helper()
		ok, err := api.Client().HasFile(t.Context(), id, lumin.FileAgreement, atOnce)
		if err != nil {
			t.Error(err)
		}
		return ok
	}
	for _, links := range []bool{true, false} {
		api := newAPI(t)
		api.UseLinks(links)
		api.SetRequest("ready", map[string]any{"status": "APPROVED"})
		api.SetFile("ready", lumin.FileAgreement, luminapi.PDF(100_000))
		api.SetRequest("approved", map[string]any{"status": "APPROVED"})
		api.SetRequest("open", map[string]any{"status": "NEED_TO_SIGN"})
		api.SetFile("open", lumin.FileAgreement, luminapi.PDF(1000))
		for id, want := range map[string]bool{"ready": true, "approved": false, "open": false, "unknown": false} {
			if has(api, id) != want {
				t.Errorf("links %t, %s: want %t", links, id, want)
			}
		}
		if asked, followed := api.Requests(luminapi.API), api.Requests(luminapi.Links); len(asked) != 4 || len(followed) != 0 {
			t.Errorf("%d requests and %d links followed", len(asked), len(followed))
		}
	}
	api := newAPI(t)
	api.SetFile("a", lumin.FileAgreement, luminapi.PDF(1000))
	api.Only("application/pdf")
	if !has(api, "a") {
		t.Error("a file that is offered as PDF only")
	}
	for _, code := range []int{401, 403, 408, 429, 500, 503, 302} {
		api.Next(luminapi.Status(code, "Retry-After", "7"))
		ok, err := api.Client().HasFile(t.Context(), "a", lumin.FileAgreement, atOnce)
		var refused *lumin.APIError
		if wantNoLeak(t, err); ok || !errors.As(err, &refused) || refused.StatusCode != code {
			t.Errorf("%d: %t, %v", code, ok, err)
		}
	}
	if _, err := api.Client().HasFile(t.Context(), "..", lumin.FileAgreement, atOnce); !errors.Is(err, lumin.ErrInvalidID) {
		t.Error(err)
	}
}

// An answer 200 without a file is not a file. A link that has expired shows that
// there is one.
func TestHasFileNeedsLink(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	for name, fault := range map[string]luminapi.Fault{
		"JSON without a link": luminapi.Answer("application/json", `{"status":"processing"}`),
		"an empty link":       luminapi.Answer("application/json", `{"signed_url":"","download_url":""}`),
		"a page":              luminapi.Answer("text/html", `<html>canary</html>`),
		"not JSON":            luminapi.Answer("application/json", `canary`),
	} {
		api.Next(fault)
		if ok, err := api.Client().HasFile(t.Context(), "a", lumin.FileAgreement, atOnce); ok || err == nil {
			t.Errorf("%s: %t, %v", name, ok, err)
		} else {
			wantNoLeak(t, err)
		}
	}
	api.Next(luminapi.ExpiredLink())
	if ok, err := api.Client().HasFile(t.Context(), "a", lumin.FileAgreement, atOnce); !ok || err != nil {
		t.Errorf("an expired link: %t, %v", ok, err)
	}
}

// The second request waits for pace, and is not made if pace fails.
func TestHasFilePaced(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	api.SetFile("a", lumin.FileAgreement, luminapi.PDF(1000))
	api.Only("application/pdf")
	failed := errors.New("pace")
	for _, want := range []error{nil, failed} {
		calls, before := 0, len(api.Requests())
		ok, err := api.Client().HasFile(t.Context(), "a", lumin.FileAgreement, func(context.Context) error {
			calls++
			if n := len(api.Requests()) - before; n != 1 {
				t.Errorf("pace is called after %d requests", n)
			}
			return want
		})
		if ok != (want == nil) || !errors.Is(err, want) || calls != 1 {
			t.Errorf("%t, %v after %d calls", ok, err, calls)
		}
		if n, made := len(api.Requests())-before, map[bool]int{true: 2, false: 1}[want == nil]; n != made {
			t.Errorf("%d requests, want %d", n, made)
		}
	}
}

// One connection serves all questions.
func TestHasFileKeepsConnection(t *testing.T) {
	t.Parallel()
	var from []string
	api := newAPI(t)
	api.SetFile("a", lumin.FileAgreement, luminapi.PDF(1000))
	client := api.Client()
	for range 3 {
		api.Next(func(_ *luminapi.Server, w http.ResponseWriter, r *http.Request, next http.Handler) {
			from = append(from, r.RemoteAddr)
			next.ServeHTTP(w, r)
		})
		if ok, err := client.HasFile(t.Context(), "a", lumin.FileAgreement, atOnce); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	if got := strings.Join(from, " "); got != strings.TrimSpace(strings.Repeat(from[0]+" ", 3)) {
		t.Errorf("requests came from %s", got)
	}
}
