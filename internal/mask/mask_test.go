package mask_test

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"lumin-ingest/internal/mask"
)

func TestJSON(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, body, want string }{
		{
			"a delivery",
			`{"event": { "event_time": 1694664207595, "event_metadata": {"signer_email":"ada@example.com"} },` + "\n" +
				`  "signature_request":{"title":"Contract é","details_url":"https://example.com/d/1?token=canary&x=1#f","signers":[{"name":"Ada Lovelace","email":"ada.l@example.com","status":"NEED_TO_SIGN"}]}}`,
			`{"event": { "event_time": 1694664207595, "event_metadata": {"signer_email":"a•••@example.com"} },` + "\n" +
				`  "signature_request":{"title":"Contract é","details_url":"https://example.com/d/1?•••","signers":[{"name":"A•••","email":"a•••@example.com","status":"NEED_TO_SIGN"}]}}`,
		},
		{"an address in a title", `{"title":"For ada@example.com, please"}`, `{"title":"For a•••@example.com, please"}`},
		{"an escaped address", `{"title":"ada\u0040example.com"}`, `{"title":"a•••@example.com"}`},
		{"an address as a name", `{"ada@example.com":1}`, `{"a•••@example.com":1}`},
		{"a percent-encoded address", `{"title":"ada%40example.com"}`, `{"title":"•••"}`},
		{"a URL with a password", `{"title":"see https://u:pa@ss@example.com/x"}`, `{"title":"see •••"}`},
		{"a token in a title", `{"title":"https://example.com/d?token=canary"}`, `{"title":"https://example.com/d?•••"}`},
		{"a bearer token", `{"title":"Bearer canary123456"}`, `{"title":"•••"}`},
		{"another token", `{"context":{"access_token":"canary","user":{"last_name":"Lovelace"}}}`, `{"context":{"access_token":"•••","user":{"last_name":"L•••"}}}`},
		{"a list of names", `{"name":["Ada","Grace"],"x":["Ada"]}`, `{"name":["A•••","G•••"],"x":["Ada"]}`},
		{"names after a list", `{"signers":[{"x":1}],"name":"Ada"}`, `{"signers":[{"x":1}],"name":"A•••"}`},
		{"an address that is none", `{"email":"unknown","signer_email":""}`, `{"email":"•••","signer_email":""}`},
		{"numbers and white space", "[1.50, 1e400,\t-0 ]\n", "[1.50, 1e400,\t-0 ]\n"},
		{"markup", `{"title":"<script>alert(1)</script> \u202E"}`, `{"title":"<script>alert(1)</script> \u202E"}`},
		{"a string alone", `"ada@example.com"`, `"a•••@example.com"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, ok := mask.JSON([]byte(test.body))
			if string(got) != test.want || !ok {
				t.Errorf("%t\n%s\nwant\n%s", ok, got, test.want)
			}
		})
	}
	long := strings.Repeat("word ", 2000)
	if got := mask.String(long + "ada@example.com"); got != long+"a•••@example.com" {
		t.Errorf("a long text became %d bytes", len(got))
	}
}

// A body that cannot be examined is not shown.
func TestNotJSON(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"", "{", `{"a":"ada@example.com"`, "ada@example.com", "\"\xff\"", `{"a":1}{"b":2}`} {
		if got, ok := mask.JSON([]byte(body)); got != nil || ok {
			t.Errorf("%q is shown: %q", body, got)
		}
	}
}

var (
	visible = regexp.MustCompile(`(?i)(?:^|[^•])@|\x{FF20}|\x{FE6B}|%(25)*40|\\u0040|&#0*64;|&#x0*40;|&commat;`)
	query   = regexp.MustCompile(`://[^\s"]*\?[^\s"]*=`)
)

// Whatever the body, the result has its structure, no address and no query.
func FuzzJSON(f *testing.F) {
	for _, body := range []string{
		`{"a":"ada@example.com","b":["https://example.com/?t=1"],"c":null}`, `{"email":"a@b@c","details_url":"%3Ft=1"}`,
		`"<a@b.c>"`, `{"url":"HTTPS://İ?x=1"}`, `"a@b.c\ud800@x"`, `{"a":{"name":{"b":"x"}},"name":[[["y"]]]}`, `"•••@a@b.c"`, `"•••\uE000"`,
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		got, ok := mask.JSON([]byte(body))
		if !ok {
			if json.Valid([]byte(body)) && strings.ToValidUTF8(body, "") == body {
				t.Errorf("%q is hidden", body)
			}
			return
		}
		if !json.Valid(got) || shape(got) != shape([]byte(body)) {
			t.Fatalf("%q became %q", body, got)
		}
		for _, text := range texts(got) {
			if visible.MatchString(text) || query.MatchString(text) {
				t.Errorf("%q shows %q", body, text)
			}
		}
	})
}

var literal = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// shape is a JSON text with each string replaced.
func shape(body []byte) string { return string(literal.ReplaceAll(body, []byte(`""`))) }

// texts are the strings of a JSON text.
func texts(body []byte) (all []string) {
	for _, l := range literal.FindAll(bytes.Clone(body), -1) {
		var text string
		if json.Unmarshal(l, &text) == nil {
			all = append(all, text)
		}
	}
	return all
}
