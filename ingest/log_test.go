package ingest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// Neither the log nor a response contains text from the caller.
func TestCallerTextIsNotRepeated(t *testing.T) {
	t.Parallel()
	const canary = "c0ffeeca11ab1e"
	body := fmt.Sprintf(`{"event":{"event_time":1694664207595,"event_type":"signature_request_signed","event_metadata":{"signer_email":"%[1]s@example.com"}},
		"signature_request":{"signature_request_id":"%[1]s","title":"%[1]s","details_url":"https://sign.example/?token=%[1]s"},"details_url":"https://sign.example/?token=%[1]s"}`, canary)
	unsound := strings.Replace(body, `"event_time"`, `"`+canary+`"`, 1)
	old := strings.Replace(body, "1694664207595", "1577836800000", 1)
	post := func(path, body, signature string) func(*rig) *http.Request {
		return func(*rig) *http.Request { return newPost(path, body, signature) }
	}
	signed := func(body string) func(*rig) *http.Request {
		return post("/webhooks/account", body, lumin.Sign([]byte(body), accountKey))
	}
	recording := func(record func(context.Context, store.Delivery) (store.Receipt, error)) func(*rig) *http.Request {
		return func(r *rig) *http.Request {
			r.record = record
			return signed(body)(r)
		}
	}
	for name, request := range map[string]func(*rig) *http.Request{
		"recorded":                signed(body),
		"unrecognized":            signed(unsound),
		"too old":                 signed(old),
		"unsigned":                post("/webhooks/account", body, ""),
		"malformed signature":     post("/webhooks/account", body, canary),
		"wrong signature":         post("/webhooks/account", body, (canary + strings.Repeat("0", 64))[:64]),
		"query at an unknown app": post("/webhooks/apps/other", body, accountSignature),
		"unknown path":            post("/"+canary, body, accountSignature),
		"not allowed": func(*rig) *http.Request {
			request := newPost("/webhooks/apps/"+canary, body, accountSignature)
			request.Method = strings.ToUpper(canary)
			return request
		},
		"encoded": func(*rig) *http.Request {
			request := newPost("/webhooks/account", body, accountSignature)
			request.Header.Set("Content-Encoding", canary)
			return request
		},
		"too large": post("/webhooks/account", strings.Repeat(canary, 1<<17), accountSignature),
		"broken": func(*rig) *http.Request {
			request := newPost("/webhooks/account", body, accountSignature)
			request.Body = brokenBody{errors.New(canary)}
			return request
		},
		"database away": recording(func(context.Context, store.Delivery) (store.Receipt, error) {
			return store.Receipt{}, fmt.Errorf("%w: %s", store.ErrUnavailable, canary)
		}),
		"an unexpected error": recording(func(context.Context, store.Delivery) (store.Receipt, error) {
			return store.Receipt{}, errors.New(canary)
		}),
		"panic":            recording(func(context.Context, store.Delivery) (store.Receipt, error) { panic(canary) }),
		"panic with error": recording(func(context.Context, store.Delivery) (store.Receipt, error) { panic(errors.New(canary)) }),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			sent := request(r)
			sent.URL.RawQuery = "token=" + canary
			for _, header := range []string{"User-Agent", "X-Forwarded-For", "X-Real-Ip", "X-Request-Id", "Referer", "Cookie", "Authorization"} {
				sent.Header.Set(header, canary)
			}
			response := r.do(sent)
			if got := len(r.output.Entries(t, "delivery")); got != 1 {
				t.Errorf("%d lines about the delivery", got)
			}
			answer := fmt.Sprint(response.Header(), response.Body)
			for where, text := range map[string]string{"log": r.output.String(), "answer": answer} {
				if strings.Contains(strings.ToLower(text), canary) {
					t.Errorf("the %s contains text from the request: %s", where, text)
				}
			}
		})
	}
	t.Run("ten mismatches", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		for range 10 {
			r.post("/webhooks/account", body, (canary + strings.Repeat("0", 64))[:64])
		}
		if len(r.output.Entries(t, alarmMessage)) != 1 || strings.Contains(r.output.String(), canary) || strings.Contains(r.output.String(), accountKey) {
			t.Errorf("logged %s", r.output)
		}
	})
}

// The log shows the unknown source name, which helps to find a wrong URL in
// Lumin's settings.
func TestUnknownSourceIsNamed(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/webhooks/apps/other":                              "app:other",
		"/webhooks/apps/other/":                             "app:other",
		"/webhooks/apps/a%0Ab%22%1B%C3%A9":                  `app:a\nb\"\x1b\u00e9`,
		"/webhooks/apps/a%2fb%0A":                           `app:a%2fb%0A`, // as it was sent
		"/webhooks/apps/ada@example.com":                    "[address]",
		"/webhooks/apps/ada%40example.com":                  "[address]",
		"/webhooks/apps/" + strings.Repeat("x", 10_000):     "app:" + strings.Repeat("x", maxTried-4) + "...",
		"/webhooks/apps/" + strings.Repeat("x", maxTried-4): "app:" + strings.Repeat("x", maxTried-4),
	} {
		r := newRig(t)
		r.post(path, documentedBody, accountSignature)
		if got := r.output.only(t)["tried"]; got != want {
			t.Errorf("%.60s: logged %.100q, want %q", path, got, want)
		}
	}
	r := newRig(t, func(cfg *Config) { delete(cfg.Sources, "account") })
	r.postAccount(documentedBody)
	if got := r.output.only(t)["tried"]; got != "account" {
		t.Errorf("logged %q", got)
	}
	known := newRig(t)
	known.postAccount(documentedBody)
	if got, there := known.output.only(t)["tried"]; there {
		t.Errorf("logged %q for a known source", got)
	}
}

// Only the part of X-Forwarded-For that trusted proxies wrote is used.
func TestTrustedProxies(t *testing.T) {
	t.Parallel()
	proxies := []netip.Prefix{netip.MustParsePrefix("10.1.2.3/8"), netip.MustParsePrefix("fd00::/8")}
	for _, test := range []struct {
		name, remote string
		forwarded    []string
		want         string
	}{
		{"through a proxy", "10.0.0.1:4711", []string{"203.0.113.9"}, "203.0.113.9"},
		{"through an IPv6 proxy", "[fd00::1]:4711", []string{"2001:db8::9"}, "2001:db8::9"},
		{"through two", "10.0.0.1:4711", []string{"203.0.113.9, 10.0.0.2"}, "203.0.113.9"},
		{"two lines", "10.0.0.1:4711", []string{"198.51.100.1", "203.0.113.9"}, "203.0.113.9"},
		{"made up by the caller", "10.0.0.1:4711", []string{"198.51.100.1, 203.0.113.9"}, "203.0.113.9"},
		{"not through a proxy", "203.0.113.9:4711", []string{"198.51.100.1"}, "203.0.113.9"},
		{"another private network", "192.168.0.1:4711", []string{"198.51.100.1"}, "192.168.0.1"},
		{"loopback", "127.0.0.1:4711", []string{"198.51.100.1"}, "127.0.0.1"},
		{"with a port", "10.0.0.1:4711", []string{"203.0.113.9:55555"}, "203.0.113.9"},
		{"with ports, through two", "10.0.0.1:4711", []string{"203.0.113.9:55555, 10.0.0.2:80"}, "203.0.113.9"},
		{"IPv6 in brackets", "10.0.0.1:4711", []string{"[2001:db8::9]"}, "2001:db8::9"},
		{"IPv6 with a port", "[fd00::1]:4711", []string{"[2001:db8::9]:55555"}, "2001:db8::9"},
		{"IPv4 in IPv6", "10.0.0.1:4711", []string{"203.0.113.9, ::ffff:10.0.0.2"}, "203.0.113.9"},
		{"a zone", "10.0.0.1:4711", []string{"fe80::1%canary"}, "fe80::1"},
		{"only proxies", "10.0.0.1:4711", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"no address", "10.0.0.1:4711", []string{"<script>"}, "10.0.0.1"},
		{"no address, through two", "10.0.0.1:4711", []string{"unknown, 10.0.0.2"}, "10.0.0.2"},
		{"an empty header", "10.0.0.1:4711", []string{""}, "10.0.0.1"},
		{"no header", "10.0.0.1:4711", nil, "10.0.0.1"},
	} {
		r := newRig(t, func(cfg *Config) { cfg.TrustedProxies = proxies })
		request := newPost("/webhooks/account", documentedBody, accountSignature)
		request.RemoteAddr, request.Header["X-Forwarded-For"] = test.remote, test.forwarded
		request.Header.Set("X-Real-Ip", "192.0.2.7")
		r.do(request)
		if got := r.output.only(t)["remote_ip"]; got != test.want {
			t.Errorf("%s: logged %v, want %s", test.name, got, test.want)
		}
	}
}

// Without trusted proxies, the caller's address comes only from the connection.
func TestRemoteIP(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	request := newPost("/webhooks/account", documentedBody, accountSignature)
	request.RemoteAddr = "127.0.0.1:4711"
	request.Header.Set("X-Forwarded-For", "203.0.113.9")
	request.Header.Set("X-Real-Ip", "203.0.113.9")
	r.do(request)
	if got := r.output.only(t)["remote_ip"]; got != "127.0.0.1" {
		t.Errorf("logged %v", got)
	}
}

type brokenBody struct{ err error }

func (b brokenBody) Read([]byte) (int, error) { return 0, b.err }
func (brokenBody) Close() error               { return nil }
