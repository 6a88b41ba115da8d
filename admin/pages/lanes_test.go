package pages_test

import (
	"strings"
	"testing"
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
