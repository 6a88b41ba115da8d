package ingest

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"lumin-ingest/lumin"
)

func TestRefusals(t *testing.T) {
	t.Parallel()
	altered := strings.Replace(documentedBody, "first", "First", 1)
	with := func(name string, values ...string) func(*http.Request) {
		return func(request *http.Request) { request.Header[http.CanonicalHeaderKey(name)] = values }
	}
	method := func(method string) func(*http.Request) {
		return func(request *http.Request) { request.Method = method }
	}
	path := func(path string) func(*http.Request) {
		return func(request *http.Request) { request.URL.Path = path }
	}
	body := func(body string) func(*http.Request) {
		return func(request *http.Request) {
			request.Body, request.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		}
	}
	for _, test := range []struct {
		name   string
		change func(*http.Request) // of a correct delivery to the account webhook
		status int
		code   string
		source string
	}{
		{"no signature", func(r *http.Request) { r.Header.Del("X-Signature") }, 401, "signature_missing", "account"},
		{"two signatures", with("X-Signature", accountSignature, accountSignature), 401, "signature_malformed", "account"},
		{"63 digits", with("X-Signature", accountSignature[:63]), 401, "signature_malformed", "account"},
		{"64 characters, not digits", with("X-Signature", strings.Repeat("g", 64)), 401, "signature_malformed", "account"},
		{"an empty signature", with("X-Signature", ""), 401, "signature_malformed", "account"},
		{"another key's signature", with("X-Signature", appSignature), 401, "signature_mismatch", "account"},
		{"an altered byte", body(altered), 401, "signature_mismatch", "account"},
		{"a trailing newline", body(documentedBody + "\n"), 401, "signature_mismatch", "account"},
		{"no body", body(""), 401, "signature_mismatch", "account"},
		{"the account's signature at an app", path("/webhooks/apps/demo"), 401, "signature_mismatch", "app:demo"},

		{"an unknown app", path("/webhooks/apps/other"), 404, "unknown_source", "unknown"},
		{"an app in another case", path("/webhooks/apps/Demo"), 404, "unknown_source", "unknown"},
		{"an app with a slash", path("/webhooks/apps/demo/x"), 404, "unknown_source", "unknown"},
		{"no app", path("/webhooks/apps/"), 404, "not_found", "unknown"},
		{"apps", path("/webhooks/apps"), 404, "not_found", "unknown"},
		{"the root", path("/"), 404, "not_found", "unknown"},
		{"two slashes behind", path("/webhooks/account//"), 404, "not_found", "unknown"},
		{"an unknown app with a slash behind", path("/webhooks/apps/other/"), 404, "unknown_source", "unknown"},
		{"account in another case", path("/webhooks/Account"), 404, "not_found", "unknown"},
		{"metrics", path("/metrics"), 404, "not_found", "unknown"},

		{"GET", method("GET"), 405, "method_not_allowed", "unknown"},
		{"HEAD", method("HEAD"), 405, "method_not_allowed", "unknown"},
		{"OPTIONS", method("OPTIONS"), 405, "method_not_allowed", "unknown"},
		{"PUT", method("PUT"), 405, "method_not_allowed", "unknown"},
		{"an unknown method", method("SIGN"), 405, "method_not_allowed", "unknown"},
		{"GET with a slash behind", func(r *http.Request) { r.Method, r.URL.Path = "GET", "/webhooks/account/" }, 405, "method_not_allowed", "unknown"},
		{"GET at an app", func(r *http.Request) { r.Method, r.URL.Path = "GET", "/webhooks/apps/demo" }, 405, "method_not_allowed", "unknown"},
		{"GET at an unknown app", func(r *http.Request) { r.Method, r.URL.Path = "GET", "/webhooks/apps/other" }, 405, "method_not_allowed", "unknown"},
		{"POST to healthz", path("/healthz"), 405, "method_not_allowed", "unknown"},

		{"gzip", with("Content-Encoding", "gzip"), 415, "unsupported_content_encoding", "account"},
		{"identity and gzip", with("Content-Encoding", "identity, gzip"), 415, "unsupported_content_encoding", "account"},
		{"identity, and gzip on another line", with("Content-Encoding", "identity", "gzip"), 415, "unsupported_content_encoding", "account"},

		{"a byte too much", body(bodyOfSize(1<<20 + 1)), 413, "body_too_large", "account"},
		{"far too much announced", func(r *http.Request) { r.ContentLength = 1 << 40 }, 413, "body_too_large", "account"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			request := newPost("/webhooks/account", documentedBody, accountSignature)
			test.change(request)
			response := r.do(request).Result()
			wantProblem(t, response, test.status, test.code)

			if test.status == http.StatusMethodNotAllowed {
				want := "POST"
				if request.URL.Path == "/healthz" {
					want = "GET, HEAD"
				}
				if got := response.Header.Values("Allow"); !slices.Equal(got, []string{want}) {
					t.Errorf("Allow %q, want %q", got, want)
				}
			}
			if r.deliveries() != nil || r.routed != nil {
				t.Errorf("recorded %v, routed %q", r.deliveries(), r.routed)
			}
			if got := r.metric("lumin_deliveries_total", "source="+test.source, "result=refused", "reason="+test.code); got != 1 {
				t.Errorf("counted %v", got)
			}
			if got := r.metric("lumin_delivery_seconds", "source=account") + r.metric("lumin_delivery_seconds", "source=app:demo"); got != 0 {
				t.Errorf("timed %v deliveries that were not verified", got)
			}
			line := r.output.only(t)
			if line["level"] != "WARN" || line["source"] != test.source || line["status"] != float64(test.status) ||
				line["result"] != "refused" || line["code"] != test.code {
				t.Errorf("logged %v", line)
			}
			for _, absent := range []string{"event_id", "event_type", "key_id", "reason"} {
				if _, there := line[absent]; there {
					t.Errorf("logged %s of what was not verified: %v", absent, line)
				}
			}
		})
	}
	t.Run("account not configured", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, func(cfg *Config) { delete(cfg.Sources, "account") })
		wantProblem(t, r.postAccount(documentedBody).Result(), 404, "unknown_source")
	})
}

// Equivalent spellings from proxies and people are accepted.
func TestAcceptedVariants(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, path, signature string
		encoding              []string
	}{
		{"a slash behind the account", "/webhooks/account/", accountSignature, nil},
		{"a slash behind an app", "/webhooks/apps/demo/", appSignature, nil},
		{"identity", "/webhooks/account", accountSignature, []string{"identity"}},
		{"identity in capitals", "/webhooks/account", accountSignature, []string{"Identity"}},
		{"an empty encoding", "/webhooks/account", accountSignature, []string{""}},
		{"several that change nothing", "/webhooks/account", accountSignature, []string{"identity, identity", " "}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			request := newPost(test.path, documentedBody, test.signature)
			if test.encoding != nil {
				request.Header["Content-Encoding"] = test.encoding
			}
			wantReceipt(t, r.do(request), `{"id":17,"status":"recorded"}`)
		})
	}
}

// The first problem decides the response.
func TestOrderOfRefusals(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*http.Request)
		code   string
	}{
		{"the method before everything", func(r *http.Request) { r.Method = "PUT" }, "method_not_allowed"},
		{"the source before the encoding", func(r *http.Request) { r.URL.Path = "/webhooks/apps/other" }, "unknown_source"},
		{"the encoding before the size", func(*http.Request) {}, "unsupported_content_encoding"},
		{"the size before the signature", func(r *http.Request) { r.Header.Del("Content-Encoding") }, "body_too_large"},
		{"the signature before the age", func(r *http.Request) {
			r.Header.Del("Content-Encoding")
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(bodyAt(time.UnixMilli(1)))), -1
		}, "signature_mismatch"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			request := newPost("/webhooks/account", bodyOfSize(1<<20+1), strings.Repeat("0", 64))
			request.Header.Set("Content-Encoding", "gzip")
			test.change(request)
			var p struct{ Code string }
			response := newRig(t).do(request)
			decode(t, response.Body, &p)
			if p.Code != test.code {
				t.Errorf("%s, want %s", p.Code, test.code)
			}
		})
	}
}

func TestLargestBody(t *testing.T) {
	t.Parallel()
	for name, length := range map[string]int64{"with Content-Length": 1 << 20, "without": -1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			body := bodyOfSize(1 << 20)
			request := newPost("/webhooks/account", body, lumin.Sign([]byte(body), accountKey))
			request.ContentLength = length
			wantReceipt(t, r.do(request), `{"id":17,"status":"recorded"}`)
			if got := r.deliveries(); len(got) != 1 || string(got[0].Payload) != body {
				t.Error("another body was recorded")
			}
		})
	}
}
