package redact_test

import (
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"lumin-ingest/internal/redact"
)

func TestText(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, in, want string }{
		{"empty", "", ""},
		{"clean", "call 3 failed: timeout after 10s (SQLSTATE 57014)", "call 3 failed: timeout after 10s (SQLSTATE 57014)"},
		{"questions and signs", "why? because a = b, c? #4 & x", "why? because a = b, c? #4 & x"},
		{"an operator of SQL", `args ? 'event_key' AND n = 1`, `args ? 'event_key' AND n = 1`},
		{"other languages", "Ungültige Größe für 契約書 😀", "Ungültige Größe für 契約書 😀"},
		{"NUL", "a\x00b\x00", "ab"},
		{"not UTF-8", "a\xff\xed\xa0\x80b", "a\uFFFDb"},
		{"NUL in an address", "joe@exa\x00mple.com", "[address]"},

		{"address", "mail to joe.doe+tag@example.com failed", "mail to [address] failed"},
		{"address in brackets", "Joe <joe@example.com>, (joe@example.com), [joe@example.com]", "Joe <[address]>, ([address]), [[address]]"},
		{"address in quotes", `"joe@example.com"`, `"[address]"`},
		{"two addresses", "joe@example.com,ann@example.com", "[address],[address]"},
		{"address as a value", "email=joe@example.com not found", "[address] not found"},
		{"address behind a colon", "mailto:joe@example.com: bounced", "[address]: bounced"},
		{"an apostrophe and an equals sign", "o'brien@example.com bounce+joe=example.com@list.example", "[address] [address]"},
		{"a quoted local part", `550 "joe doe"@example.com`, `550 [address]`},
		{"a domain literal", "joe@[192.168.2.1] joe@[IPv6:2001:db8::1] gone", "[address] [address] gone"},
		{"without a domain", "joe@ failed", "[address] failed"},
		{"without a local part", "@example.com failed", "[address] failed"},
		{"Unicode", "用户@例子.广告 josé@exämple.com", "[address] [address]"},
		{"wide at sign", "joe＠example.com joe﹫example.com", "[address] [address]"},
		{"percent-encoded", "joe%40example.com joe%2540example.com", "[address] [address]"},
		{"escaped", `joe\u0040example.com joe&#64;example.com joe&#x40;example.com joe&commat;example.com`, "[address] [address] [address] [address]"},
		{"several at signs", "a@b@c.example", "[address]"},

		{"user and password", "dial postgres://joe:secret@db.example:5432/x: refused", "dial [address] refused"},
		{"a password with any character", "dial postgres://joe:s/e(c)r@e,t@[2001:db8::1]:5432/x failed", "dial [address] failed"},
		{"IPv6 without a user", "dial https://[2001:db8::1]:8443/x failed", "dial https://[2001:db8::1]:8443/x failed"},

		{"a key in a header", "GET /x: 401, X-API-KEY: lumin_1234, Accept: */*", "GET /x: 401, [secret], Accept: */*"},
		{"a header of Go", "map[Accept:[*/*] Authorization:[Bearer abc.def] X-Signature:[38AB]]", "map[Accept:[*/*] [secret] [secret]"},
		{"a header in JSON", `{"authorization": "Bearer abc.def", "x":1}`, `{"[secret]", "x":1}`},
		{"a header in JSON, as a list", `{"X-Api-Key":["k1234"],"x":1}`, `{"[secret]"],"x":1}`},
		{"a header in JSON, indented", "{\"X-Api-Key\": [\n  \"k1234\"\n]}", "{\"[secret]\"\n]}"},
		{"a header in the syntax of Go", `http.Header{"X-Api-Key":[]string{"k1234"}}`, `http.Header{"[secret]"}}`},
		{"a header in escaped JSON", `"{\"x-api-key\":\"k1234\",\"x\":1}"`, `"{\"[secret]",\"x\":1}"`},
		{"another scheme", "Authorization: Token k1234 refused", "[secret] refused"},
		{"a scheme of another header", "X-API-Key: Bearer k1234 refused", "[secret] refused"},
		{"another scheme of Go", "map[Authorization:[ApiKey k1234] Accept:[*/*]]", "map[[secret] Accept:[*/*]]"},
		{"a bearer token alone", "bearer eyJhbGciOi.x.y refused, bearer token too", "[secret] refused, bearer token too"},
		{"a header without a value", "no X-Signature: refused [...]", "no [secret] [...]"},
		{"a secret of Standard Webhooks", "signed with whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw: refused", "signed with [secret]: refused"},

		{"query", "https://sign.example/d/1?token=abc&b=c failed", "https://sign.example/d/1[query] failed"},
		{"query in quotes", `Get "https://sign.example/d/1?token=abc": EOF`, `Get "https://sign.example/d/1[query]": EOF`},
		{"query in JSON", `{"details_url":"https://sign.example/d?a=b\u0026token=abc","x":1}`, `{"details_url":"https://sign.example/d[query]","x":1}`},
		{"query without a value", "https://sign.example/d/1?eyJhbGciOi failed", "https://sign.example/d/1[query] failed"},
		{"fragment", "https://sign.example/d/1#access_token=abc failed", "https://sign.example/d/1[query] failed"},
		{"query with quotes and signs", "https://sign.example/?token=ab'c(d)e,f;g&h failed", "https://sign.example/[query] failed"},
		{"query of a path", "GET /d/1?token=abc 404", "GET /d/1[query] 404"},
		{"query alone", "?token=abc failed, &token=abc too", "[query] failed, [query] too"},
		{"query without a name", "x?=abc", "x[query]"},
		{"query, encoded", "to=https%3A%2F%2Fsign.example%3Ftoken%3Dabc", "to=https%3A%2F%2Fsign.example[query]"},
		{"address in a query", "https://sign.example/d?email=joe@example.com&eyJhbGciOi failed", "[address] failed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := redact.Text(test.in)
			if got != test.want {
				t.Errorf("Text(%q)\n got %q\nwant %q", test.in, got, test.want)
			}
			mustBeClean(t, got)
		})
	}
}

func TestTextLength(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ in, want string }{
		"maximum length":   {strings.Repeat("x", redact.MaxLength), strings.Repeat("x", redact.MaxLength)},
		"one byte more":    {strings.Repeat("x", redact.MaxLength+1), strings.Repeat("x", redact.MaxLength-6) + " [...]"},
		"whole characters": {strings.Repeat("é", redact.MaxLength), strings.Repeat("é", redact.MaxLength/2-3) + " [...]"},
		"long query":       {"/x?" + strings.Repeat("a=b&", 300_000) + " end", "/x[query] [...]"},
		"long address":     {strings.Repeat("joe", 300_000) + "@example.com", strings.Repeat("joe", 665)[:redact.MaxLength-6] + " [...]"},
		"many addresses":   {strings.Repeat("joe@example.com ", 65_536), strings.Repeat("[address] ", 1000)[:redact.MaxLength-6] + " [...]"},
		"one MiB":          {strings.Repeat("word ", 1<<20/5), strings.Repeat("word ", 1000)[:redact.MaxLength-6] + " [...]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			got := redact.Text(test.in)
			if took := time.Since(start); took > 5*time.Second { // the race detector is slow
				t.Errorf("took %s", took)
			}
			if got != test.want {
				t.Errorf("got %d bytes, %.40q ... %q", len(got), got, got[max(0, len(got)-40):])
			}
			mustBeClean(t, got)
		})
	}
}

// No part of an address at the edge of the window is shown.
func TestTextWindow(t *testing.T) {
	t.Parallel()
	for n := 7_978; n < 8_002; n += 3 {
		got := redact.Text(strings.Repeat("/?", n/2) + strings.Repeat(".", n%2) + " canary@example.com " + strings.Repeat("x", 20_000))
		if strings.Contains(got, "can") {
			t.Fatalf("cut at %d: %q", n, got)
		}
	}
}

func FuzzText(f *testing.F) {
	for _, seed := range []string{
		"", "joe@example.com", `?"a"@x=b`, "://@", `"@"@"`, "/?", "%3f%3d", "??a=b", "a%2540b", "&#x40;", "[address]=?#&",
		"/x#?y\xff=\x00", "?[query]=1", "é@\u2028?=", `https://u:p@h/x?a=b "c"`, `x-api-key:""@x x-api-key:[x] /a?authorization: x`, "x-api-key: a, authorization='bearer b' whsec_c bearer 12345678", "authorization: ?a=b@c", `x-api-key":[]string{"a"} authorization\":[\"token b`, "authorization: a x-signature: [", `x-api-key:[ "` + strings.Repeat(`"\`, 4000), "bearer " + strings.Repeat("whsec_1 x-signature: ", 100), "&commat;" + strings.Repeat("x", 2000),
		strings.Repeat("é?", 1100), strings.Repeat("a@b ", 5000),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		mustBeClean(t, redact.Text(s))
		mustBeClean(t, redact.Text("joe"+s+"@example.com/?"+s+"=b"))
		// Nothing in a query appears in the result.
		secret := redact.Text(`Get "https://sign.example/d?token=canary` + url.QueryEscape(s) + `canary": EOF`)
		if strings.Contains(secret, "canary") {
			t.Errorf("query survives: %q", secret)
		}
		header := redact.Text("401: " + s + "\nX-API-Key: canary" + url.QueryEscape(s) + "canary, whsec_canary")
		if _, credentials, _ := strings.Cut(header, "\n"); strings.Contains(credentials, "canary") {
			t.Errorf("credential survives: %q", header)
		}
	})
}

var (
	anyAddress = regexp.MustCompile(`(?i)[@＠﹫]|%40|\\u0040|&#(0*64|x0*40);|&commat;`)
	anyQuery   = regexp.MustCompile(`[?&#][^\s"<>?#&=]*=`)
)

func mustBeClean(t *testing.T, s string) {
	t.Helper()
	switch {
	case len(s) > redact.MaxLength:
		t.Errorf("%d bytes", len(s))
	case !utf8.ValidString(s):
		t.Errorf("not UTF-8: %q", s)
	case strings.Contains(s, "\x00"):
		t.Errorf("NUL: %q", s)
	case anyAddress.MatchString(s):
		t.Errorf("contains an address: %q", s)
	case anyQuery.MatchString(s):
		t.Errorf("contains a query: %q", s)
	case redact.Text(s) != s:
		t.Errorf("cleaning again changes %q to %q", s, redact.Text(s))
	}
}
