package pages

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

//go:embed templates
var templates embed.FS

// view is what a template gets. A handler sets the first part, show the rest.
type view struct {
	Title   string // of the page, and its heading
	Section string // path of the entry in the menu that the page belongs to
	Lead    string // one sentence below the heading; optional
	Crumbs  []link // the way to this page; optional
	Path    string // to return to this page; empty: the address of the request
	Data    any    // what the page's own template shows

	Caller Caller
	Theme  string // light, dark, or empty for the system's
	Menu   []menuGroup
	Done   string // what the last action did; empty: nothing
}

// link is a link with its text.
type link struct{ Text, Path string }

// parse reads the templates. Each page has a set of its own, with layout.html and
// parts.html.
func (p *Pages) parse() map[string]*template.Template {
	frame := template.Must(template.New("").Funcs(p.functions()).ParseFS(templates, "templates/layout.html", "templates/parts.html"))
	files, err := fs.Glob(templates, "templates/*.html")
	if err != nil {
		panic(err) // the pattern is constant
	}
	sets := map[string]*template.Template{}
	for _, file := range files {
		name := strings.TrimSuffix(strings.TrimPrefix(file, "templates/"), ".html")
		if name != "layout" && name != "parts" {
			sets[name] = template.Must(template.Must(frame.Clone()).ParseFS(templates, file))
		}
	}
	return sets
}

// show answers with a page.
func (p *Pages) show(c echo.Context, page string, v view) error {
	return p.showStatus(c, http.StatusOK, page, v)
}

// showStatus executes a template before the answer begins, so that an error still
// becomes an error page.
func (p *Pages) showStatus(c echo.Context, status int, page string, v view) error {
	v.Caller = p.cfg.Caller(c.Request().Context())
	v.Theme, v.Menu = theme(c), menu(v.Section)
	switch {
	case status != http.StatusOK: // an error page shows nothing of the address
		v.Path = "/"
	case v.Path == "":
		v.Path = c.Request().URL.RequestURI()
	}
	v.Done = takeDone(c)
	var out bytes.Buffer
	if err := p.templates[page].ExecuteTemplate(&out, "layout", v); err != nil {
		return fmt.Errorf("show page %s: %w", page, err)
	}
	c.Response().Header().Set("Cache-Control", "no-store")
	return c.HTMLBlob(status, out.Bytes())
}
