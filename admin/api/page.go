package api

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

//go:embed page.html
var pageHTML string

// described is an operation as the page shows it.
type described struct {
	ID, Method, Path, Summary string
	Description               []string // paragraphs
	Parameters                []parameter
	Request, Answer           string // examples; empty without a body
	Errors                    []string
}

type parameter struct{ Name, In, Type, Meaning string }

// group is the operations with one tag.
type group struct {
	Name       string
	Operations []described
}

// page makes the readable page of the document. It needs no script.
func (a *api) page() []byte {
	doc := a.huma.OpenAPI()
	var out bytes.Buffer
	err := template.Must(template.New("page").Parse(pageHTML)).Execute(&out, map[string]any{
		"Title": doc.Info.Title, "Description": doc.Info.Description, "Version": doc.Info.Version, "Prefix": Prefix, "Groups": a.groups(),
	})
	if err != nil {
		panic(fmt.Sprintf("page of the API: %v", err)) // it is part of the program
	}
	return out.Bytes()
}

// groups lists the operations in the order of their paths, below the tags in the
// order of their names.
func (a *api) groups() []group {
	doc := a.huma.OpenAPI()
	byTag := map[string][]described{}
	for _, path := range slices.Sorted(maps.Keys(doc.Paths)) {
		for _, op := range operationsOf(doc.Paths[path]) {
			byTag[op.Tags[0]] = append(byTag[op.Tags[0]], describedOf(op))
		}
	}
	var groups []group
	for _, tag := range slices.Sorted(maps.Keys(byTag)) {
		groups = append(groups, group{tag, byTag[tag]})
	}
	return groups
}

// operationsOf lists the operations of a path.
func operationsOf(path *huma.PathItem) []*huma.Operation {
	return slices.DeleteFunc([]*huma.Operation{path.Get, path.Post, path.Put, path.Patch, path.Delete},
		func(op *huma.Operation) bool { return op == nil })
}

func describedOf(op *huma.Operation) described {
	d := described{ID: op.OperationID, Method: op.Method, Path: op.Path, Summary: op.Summary, Description: strings.Split(op.Description, "\n\n")}
	for _, p := range op.Parameters {
		d.Parameters = append(d.Parameters, parameter{p.Name, p.In, typeText(p.Schema), p.Description})
	}
	if op.RequestBody != nil {
		d.Request = indented(op.RequestBody.Content["application/json"])
	}
	for _, status := range slices.Sorted(maps.Keys(op.Responses)) {
		if status < "300" {
			d.Answer = indented(op.Responses[status].Content["application/json"])
		} else {
			d.Errors = append(d.Errors, status)
		}
	}
	return d
}

// typeText describes the type of a parameter in a few words.
func typeText(s *huma.Schema) string {
	switch {
	case len(s.Enum) > 0:
		var values []string
		for _, v := range s.Enum {
			values = append(values, fmt.Sprint(v))
		}
		return strings.Join(values, ", ")
	case s.Format == "date-time":
		return "time"
	case s.Type == huma.TypeArray:
		return "list"
	}
	return s.Type
}

// indented returns an example as a text of several lines.
func indented(content *huma.MediaType) string {
	if content == nil || content.Example == nil {
		return ""
	}
	text, err := json.MarshalIndent(content.Example, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("example: %v", err)) // it is part of the program
	}
	return string(text)
}
