package pages_test

import (
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// hostile are texts that must stay text.
func hostile() []string {
	return []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `</bdi></td></table><h1>x</h1>`, `{{.}}`, `javascript:alert(1)`,
		"\u202eright to left\u202c", "שלום עולם", strings.Repeat("long ", 2000), "a\x01b",
	}
}

func TestLanes(t *testing.T) {
	t.Parallel()
	for i, text := range hostile() {
		r := newRig(t)
		r.register(true, "book")
		r.record(delivery(i, text, "book"))
		r.fail("book", text)
		p := r.get("/lanes").want(200, "book", "held", "request-")
		if len(text) < 400 && !strings.Contains(text, "\x01") {
			p.want(200, strings.Join(strings.Fields(text), " "))
		}
		if len(p.body) > 20000 {
			t.Errorf("the page has %d bytes", len(p.body))
		}
	}
}

// Links to a signature request work with any id.
func TestLinksToOddIDs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.register(true, "book")
	ids := map[string]string{"a/b?c#d": "/requests/a%2Fb%3Fc%23d", "%2F &": "/requests/%252F%20&", "..": "/events?request=.."}
	for id := range ids {
		d := delivery(len(id), "title", "book")
		d.Envelope.SignatureRequestID = id
		r.record(d)
	}
	r.fail("book", "timeout")
	for id, want := range ids {
		for _, path := range []string{
			"/lanes",
			"/lanes/skip?" + url.Values{"kind": {"book"}, "request": {id}}.Encode(),
			"/plan?" + url.Values{"do": {"replay"}, "status": {"failed"}, "request": {id}}.Encode(),
		} {
			if got := r.get(path).want(200, id).linkTo(id); got != want {
				t.Errorf("%s links to %s, want %s", path, got, want)
			}
		}
		r.get(want).want(200, id)
	}
}

// linkTo returns the target of the link around a text; empty if there is none.
func (p *page) linkTo(text string) string {
	for _, a := range p.all("a") {
		for n := range a.Descendants() {
			if n.Type == html.TextNode && n.Data == text {
				return attribute(a, "href")
			}
		}
	}
	return ""
}
