package api

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"
)

// describeAPI adds to the document what belongs to no operation.
func (a *api) describeAPI() {
	doc := a.huma.OpenAPI()
	doc.Info.Title = "API of lumin-ingest"
	doc.Info.Description = "What an operator can see and do: events, failures, replays, lanes, conflicts, erasures. docs/api.md introduces it."
	doc.Servers = []*huma.Server{{URL: Prefix}}
	doc.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"token": {
		Type: "http", Scheme: "bearer", Description: "A token of the server. \"token new\" makes one. A page of this server may use its session cookie instead.",
	}}
	schemas := doc.Components.Schemas.Map()
	describeProperties(schemas)
	optional(schemas["EventSummary"], "key_id", "signature", "payload", "payload_sha256", "payload_removed_at")
	optional(schemas["EventDetails"], "signature", "payload", "payload_sha256")
	nullable(schemas["Plan"], "left_out")
	nullable(schemas["Request"], "latest")
	for _, item := range doc.Paths {
		for _, op := range operationsOf(item) {
			addExamples(schemas, op)
		}
	}
}

// schemaName names a type in the document. Types of several rooms have the same
// name in Go.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch path.Base(t.PkgPath()) {
	case "replay":
		return "Replay" + name
	case "erasure":
		return "Erasure" + name
	case "alerts":
		return "Alert" + strings.TrimPrefix(name, "Open")
	case "conflict":
		return "Conflict"
	case "operate":
		return "Change"
	}
	return name
}

// optional marks properties that an answer may lack: those of an embedded pointer.
func optional(s *huma.Schema, names ...string) {
	if s == nil {
		return
	}
	required := s.Required[:0]
	for _, name := range s.Required {
		if !slices.Contains(names, name) {
			required = append(required, name)
		}
	}
	s.Required = required
}

// nullable marks properties that are null in place of an object. huma marks only those
// of simple types.
func nullable(s *huma.Schema, names ...string) {
	for _, name := range names {
		p := s.Properties[name]
		s.Properties[name] = &huma.Schema{Description: p.Description, AnyOf: []*huma.Schema{{Ref: p.Ref}, {Type: "null"}}}
	}
}

// document serves the OpenAPI document and a page made from it.
func (a *api) document(g *echo.Group) {
	a.describeAPI()
	var indented bytes.Buffer
	text, err := json.Marshal(a.huma.OpenAPI())
	if err == nil {
		err = json.Indent(&indented, text, "", "  ")
	}
	if err != nil {
		panic(fmt.Sprintf("OpenAPI document: %v", err)) // it is part of the program
	}
	page := a.page()
	serve := func(contentType string, content []byte) echo.HandlerFunc {
		return func(c echo.Context) error { return c.Blob(http.StatusOK, contentType, content) }
	}
	g.GET("/openapi.json", serve("application/openapi+json", indented.Bytes()))
	g.GET("", serve("text/html; charset=utf-8", page))
	g.GET("/", serve("text/html; charset=utf-8", page))
	g.GET("/page.css", serve("text/css; charset=utf-8", pageCSS))
}

//go:embed page.css
var pageCSS []byte
