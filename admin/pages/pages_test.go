package pages_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"lumin-ingest/admin/assets"
)

// Every page of the menu and every other page without parameters works on an
// empty database.
func TestEmptyDatabase(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, route := range r.echo.Routes() {
		if route.Method == http.MethodGet && !strings.ContainsAny(route.Path, ":*") && !strings.HasPrefix(route.Path, assets.Prefix) && route.Path != "/plan" && route.Path != "/follow-ups/retry" && route.Path != "/theme" {
			p := r.get(route.Path)
			if p.status == http.StatusSeeOther {
				p = p.follow()
			}
			p.want(200)
		}
	}
	links := 0
	for _, a := range r.get("/").all("a") {
		if path := attribute(a, "href"); inside(a, "nav") && !strings.HasPrefix(path, "/river/") && !strings.HasPrefix(path, "/api/") {
			links++
			r.get(path).want(200)
		}
	}
	if links < 2 {
		t.Errorf("the menu has %d links", links)
	}
}

func TestErrorPages(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, path := range []string{"/nowhere", "/lanes/nowhere", "/assets/0123456789ab/app.css"} {
		r.get(path).want(404, "No such page")
	}
	r.post("/lanes", nil).want(404)
	r.admin.Pool().Close()
	r.get("/lanes").want(500, "The log of the program has the reason.").not("closed pool")
}

// Files are kept by browsers for a year, because a changed file has a new path.
func TestAssets(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	size, lines := 0, 0
	for _, name := range []string{"app.css", "app.js", "icon.svg", "river.css", "river.js"} {
		p := r.get(assets.Path(name)).answered(200)
		size += len(p.body)
		if cache := p.header.Get("Cache-Control"); !strings.Contains(cache, "immutable") {
			t.Errorf("%s: Cache-Control %q", name, cache)
		}
		if strings.HasSuffix(name, ".js") {
			lines += strings.Count(p.body, "\n")
		}
	}
	if lines > 150 {
		t.Errorf("the scripts have %d lines, at most 150 are allowed", lines)
	}
	if size > 60<<10 {
		t.Errorf("style, script and icon have %d bytes, at most 60 KiB are allowed", size)
	}
}

// answered checks the status of an answer that is not HTML.
func (p *page) answered(status int) *page {
	p.Helper()
	if p.status != status {
		p.Errorf("%s: status %d, want %d", p.path, p.status, status)
	}
	return p
}

// The theme is a cookie. The form returns only to a path of this listener.
func TestTheme(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, test := range []struct{ theme, back, cookie, location string }{
		{"dark", "/lanes?held=1", "lumin_theme=dark; Path=/; Max-Age=31536000; HttpOnly; SameSite=Strict", "/lanes?held=1"},
		{"", "//evil.example/", "lumin_theme=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict", "/"},
		{"x\"", "/\\evil.example", "lumin_theme=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict", "/"},
		{"light", "https://evil.example/", "lumin_theme=light; Path=/; Max-Age=31536000; HttpOnly; SameSite=Strict", "/"},
	} {
		p := r.get("/theme?" + url.Values{"theme": {test.theme}, "back": {test.back}}.Encode())
		if p.status != 303 || p.header.Get("Set-Cookie") != test.cookie || p.header.Get("Location") != test.location {
			t.Errorf("%+v: %d %v", test, p.status, p.header)
		}
	}
}
