package openapi

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	validationerrors "github.com/pb33f/libopenapi-validator/errors"
	"github.com/pb33f/libopenapi-validator/schema_validation"
	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"

	"lumin-ingest/admin/api"
)

// served returns the document that an API serves.
func served(t *testing.T, r *rig) libopenapi.Document {
	t.Helper()
	a := r.call(http.MethodGet, "/openapi.json", "")
	doc, err := libopenapi.NewDocument(a.body)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func report(t *testing.T, what string, problems []*validationerrors.ValidationError) {
	t.Helper()
	for _, p := range problems {
		t.Errorf("%s: %s", what, p.Error())
	}
}

func TestDocument(t *testing.T) {
	t.Parallel()
	v, problems := validator.NewValidator(served(t, newRig(t)))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	valid, found := v.ValidateDocument()
	report(t, "openapi.json", found)
	if !valid && len(found) == 0 {
		t.Error("the document is invalid")
	}
}

// Each example of a body and of an answer fits its schema.
func TestExamples(t *testing.T) {
	t.Parallel()
	model, err := served(t, newRig(t)).BuildV3Model()
	if err != nil {
		t.Fatal(err)
	}
	examples := 0
	check := func(what string, media *v3.MediaType) {
		if media == nil || media.Example == nil {
			return
		}
		examples++
		var value any
		if err := media.Example.Decode(&value); err != nil {
			t.Errorf("%s: %v", what, err)
			return
		}
		text, err := json.Marshal(value)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			return
		}
		_, found := schema_validation.NewSchemaValidator().ValidateSchemaBytes(media.Schema.Schema(), text)
		report(t, what, found)
	}
	for path, item := range model.Model.Paths.PathItems.FromOldest() {
		for method, op := range item.GetOperations().FromOldest() {
			what := method + " " + path
			if op.RequestBody != nil {
				for _, media := range op.RequestBody.Content.FromOldest() {
					check(what+": body", media)
				}
			}
			for status, response := range op.Responses.Codes.FromOldest() {
				for _, media := range response.Content.FromOldest() {
					check(what+": answer "+status, media)
				}
			}
		}
	}
	if examples < 200 {
		t.Errorf("%d examples", examples)
	}
}

// What a running API answers fits the document, and so does each request that it
// accepts.
func TestAnswers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	doc := served(t, r)
	v, problems := validator.NewValidator(doc)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	left := operations(t, doc)
	for _, c := range r.calls() {
		a := r.call(c.method, c.path, c.body)
		left = slices.DeleteFunc(left, func(op *regexp.Regexp) bool { return op.MatchString(c.method + " " + a.request.URL.Path) })
		if a.response.StatusCode != c.status {
			t.Errorf("%s %s: %d, want %d: %s", c.method, c.path, a.response.StatusCode, c.status, a.body)
		}
		if c.status == http.StatusOK {
			_, found := v.ValidateHttpRequest(a.request)
			report(t, c.method+" "+c.path+": request", found)
		}
		_, found := v.ValidateHttpResponse(a.request, a.response)
		report(t, c.method+" "+c.path+": answer "+string(a.body), found)
	}
	for _, op := range left {
		t.Errorf("no call of %s", op)
	}
}

// operations returns a pattern for the method and path of each operation.
func operations(t *testing.T, doc libopenapi.Document) (all []*regexp.Regexp) {
	t.Helper()
	model, err := doc.BuildV3Model()
	if err != nil {
		t.Fatal(err)
	}
	parameter := regexp.MustCompile(`\{[^}]+\}`)
	for path, item := range model.Model.Paths.PathItems.FromOldest() {
		for method := range item.GetOperations().FromOldest() {
			all = append(all, regexp.MustCompile("^"+strings.ToUpper(method)+" "+api.Prefix+parameter.ReplaceAllString(path, "[^/]+")+"$"))
		}
	}
	return all
}
