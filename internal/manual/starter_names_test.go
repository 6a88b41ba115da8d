package manual

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// maxStarterNames is the number of exported names that a newcomer may need for
// a program with a job type.
const maxStarterNames = 10

// A program with its own job type needs three packages and few of their names.
func TestStarterNames(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, file := range []string{"main.go", "book_revenue.go"} {
		for _, name := range namesOf(t, filepath.Join(root, starter, file)) {
			names[name] = true
		}
	}
	var counted []string
	for name := range names {
		switch pkg, _, _ := strings.Cut(name, "."); pkg {
		case "app", "worker", "lumin":
			counted = append(counted, name)
		default:
			t.Errorf("the starter uses %s: it needs app, worker and lumin only", name)
		}
	}
	slices.Sort(counted)
	if len(counted) == 0 || len(counted) > maxStarterNames {
		t.Errorf("the starter uses %d names, want at most %d: %s", len(counted), maxStarterNames, strings.Join(counted, ", "))
	}
	for _, name := range namesOf(t, filepath.Join(root, starter, "book_revenue.go")) {
		if pkg, _, _ := strings.Cut(name, "."); pkg != "worker" && pkg != "lumin" {
			t.Errorf("the job type of the starter uses %s: it needs worker and lumin only", name)
		}
	}
}

// namesOf lists the names that a Go file uses from packages of this project,
// such as worker.Event.
func namesOf(t *testing.T, file string) (names []string) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	packages := map[string]string{} // by the name in the file
	for _, imported := range parsed.Imports {
		importPath, err := strconv.Unquote(imported.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		inner, ours := strings.CutPrefix(importPath, "lumin-ingest/")
		if !ours {
			continue
		}
		local := path.Base(inner)
		if imported.Name != nil {
			local = imported.Name.Name
		}
		packages[local] = inner
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		if selector, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := selector.X.(*ast.Ident); ok && packages[x.Name] != "" {
				names = append(names, packages[x.Name]+"."+selector.Sel.Name)
			}
		}
		return true
	})
	return names
}
