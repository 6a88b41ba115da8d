package api

import (
	"github.com/danielgtaylor/huma/v2"
)

// property explains a member of JSON. A name has the same meaning in every type.
type property struct {
	meaning string
	example any
}

// describeProperties adds the meaning and an example to each property of the
// document.
func describeProperties(schemas map[string]*huma.Schema) {
	known := properties()
	for name, schema := range schemas {
		for member, s := range schema.Properties {
			p, ok := known[name+"."+member]
			if !ok {
				p, ok = known[member]
			}
			if !ok {
				continue // a test reports it
			}
			s.Description = p.meaning
			if s.Ref == "" && p.example != nil {
				s.Examples = []any{p.example}
			}
		}
	}
}

// addExamples adds an example of each body of an operation, made of the examples
// of its properties.
func addExamples(schemas map[string]*huma.Schema, op *huma.Operation) {
	if op.RequestBody != nil {
		for _, content := range op.RequestBody.Content {
			content.Example = exampleOf(schemas, content.Schema)
		}
	}
	for _, response := range op.Responses {
		for _, content := range response.Content {
			content.Example = exampleOf(schemas, content.Schema)
		}
	}
}

func exampleOf(schemas map[string]*huma.Schema, s *huma.Schema) any {
	if s.Ref != "" {
		s = schemas[s.Ref[len("#/components/schemas/"):]]
	}
	switch {
	case len(s.Examples) > 0:
		return s.Examples[0]
	case len(s.AnyOf) > 0:
		return exampleOf(schemas, s.AnyOf[0])
	case s.Type == huma.TypeObject:
		object := map[string]any{}
		for name, member := range s.Properties {
			object[name] = exampleOf(schemas, member)
		}
		return object
	case s.Type == huma.TypeArray:
		return []any{exampleOf(schemas, s.Items)}
	case s.Type == huma.TypeString && s.Format == "date-time":
		return exampleTime
	case s.Type == huma.TypeString:
		return "text"
	case s.Type == huma.TypeBoolean:
		return false
	}
	return 0
}
