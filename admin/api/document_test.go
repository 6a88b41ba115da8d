package api_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"lumin-ingest/admin/api"
)

func TestPage(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.call("read", http.MethodGet, "", "")
	if a.status != http.StatusOK || !strings.Contains(a.body, "List events") || !strings.Contains(a.body, `<a href="/">Dashboard</a>`) {
		t.Fatalf("%d %s", a.status, a.body)
	}
	for _, inline := range []string{"<script", "<style", " style=", " onclick=", "http://", "https://"} {
		if strings.Contains(a.body, inline) {
			t.Errorf("the page contains %q", inline)
		}
	}
	if css := r.call("read", http.MethodGet, "/page.css", ""); css.status != http.StatusOK || css.header.Get("Content-Type") != "text/css; charset=utf-8" {
		t.Errorf("style sheet: %d %s", css.status, css.header)
	}
}

// document is the part of an OpenAPI document that the tests read.
type document struct {
	OpenAPI    string
	Paths      map[string]map[string]documented
	Components struct{ Schemas map[string]schema }
}

type documented struct {
	OperationID          string
	Summary, Description string
	Parameters           []struct{ Name, In, Description string }
	RequestBody          *struct{ Content map[string]media }
	Responses            map[string]struct{ Content map[string]media }
	Security             []map[string][]string
}

type media struct {
	Example any
	Schema  schema
}

type schema struct {
	Ref         string `json:"$ref"`
	Description string
	Properties  map[string]schema
}

func readDocument(r *rig) document {
	r.Helper()
	return get[document](r, "/openapi.json")
}

func TestDocumentExplainsEverything(t *testing.T) {
	t.Parallel()
	doc := readDocument(newRig(t))
	if doc.OpenAPI != "3.1.0" {
		t.Errorf("OpenAPI %q", doc.OpenAPI)
	}
	ids := map[string]bool{}
	for path, operations := range doc.Paths {
		for method, op := range operations {
			name := strings.ToUpper(method) + " " + path
			if op.Summary == "" || !strings.Contains(op.Description, "Needs the role ") || len(op.Security) == 0 || ids[op.OperationID] {
				t.Errorf("%s: %+v", name, op)
			}
			ids[op.OperationID] = true
			for _, p := range op.Parameters {
				if p.Description == "" {
					t.Errorf("%s: parameter %s has no description", name, p.Name)
				}
			}
			if op.RequestBody != nil && op.RequestBody.Content["application/json"].Example == nil {
				t.Errorf("%s: no example of the body", name)
			}
			for _, status := range []string{"401", "403", "422", "500", "503"} {
				if op.Responses[status].Content["application/problem+json"].Example == nil {
					t.Errorf("%s: no example of %s", name, status)
				}
			}
			if op.Responses["200"].Content["application/json"].Example == nil {
				t.Errorf("%s: no example of the answer", name)
			}
		}
	}
	var used []string
	for name, s := range doc.Components.Schemas {
		for member, p := range s.Properties {
			used = append(used, member, name+"."+member)
			if p.Description == "" {
				t.Errorf("property %s.%s has no meaning", name, member)
			}
		}
	}
	for _, name := range api.Explained() {
		if !slices.Contains(used, name) {
			t.Errorf("no type has the property %s", name)
		}
	}
}

// An example is a promise: it must decode into the type that it stands for.
func TestExamplesAreAccepted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for path, operations := range readDocument(r).Paths {
		op, ok := operations["post"]
		if !ok || strings.Contains(path, "{") || op.RequestBody == nil {
			continue
		}
		body, err := json.Marshal(op.RequestBody.Content["application/json"].Example)
		if err != nil {
			t.Fatal(err)
		}
		if a := r.call("erase", http.MethodPost, path, string(body)); strings.Contains(a.body, `"validation failed"`) || a.status == http.StatusInternalServerError {
			t.Errorf("%s: %d %s for %s", path, a.status, a.body, body)
		}
	}
}
