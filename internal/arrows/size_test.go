package arrows

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A reader sees a file of maxFileLines and a function of maxFunctionLines
// without losing the thread.
const (
	maxFileLines     = 400
	maxFunctionLines = 60
)

// longFunctions lists the only functions that may be longer, each with its
// reason.
var longFunctions = map[string]string{
	"ingest/answer.go answerTo": "a table: one case per response",
}

func TestSizes(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root && strings.HasPrefix(entry.Name(), "."):
			return filepath.SkipDir
		case entry.IsDir() || filepath.Ext(path) != ".go":
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		lines, functions := sizes(t, source)
		if lines > maxFileLines {
			t.Errorf("%s has %d lines, more than %d: split it by what it holds", name, lines, maxFileLines)
		}
		for function, lines := range functions {
			id := filepath.ToSlash(name) + " " + function
			seen[id] = true
			if lines > maxFunctionLines && longFunctions[id] == "" {
				t.Errorf("%s has %d lines, more than %d without its tables", id, lines, maxFunctionLines)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !seen["lumin/envelope.go DecodeEnvelope"] {
		t.Error("lumin.DecodeEnvelope was not found: the test read the wrong folder")
	}
	for id := range longFunctions {
		if !seen[id] {
			t.Errorf("longFunctions lists %s, which does not exist", id)
		}
	}
}

// sizes returns the number of lines of a file and of each of its functions.
// The lines of tables in a function do not count.
func sizes(tb testing.TB, source []byte) (lines int, functions map[string]int) {
	tb.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, "", source, parser.SkipObjectResolution)
	if err != nil {
		tb.Fatal(err)
	}
	span := func(n ast.Node) int { return set.Position(n.End()).Line - set.Position(n.Pos()).Line + 1 }
	functions = map[string]int{}
	for _, declaration := range file.Decls {
		function, ok := declaration.(*ast.FuncDecl)
		if !ok {
			continue
		}
		n := span(function)
		ast.Inspect(function, func(node ast.Node) bool {
			literal, ok := node.(*ast.CompositeLit)
			if !ok || !isTable(literal) {
				return true
			}
			n -= span(literal)
			return false
		})
		functions[nameOf(function)] = n
	}
	return strings.Count(string(source), "\n"), functions
}

// isTable reports whether a literal is a slice, an array or a map with several
// elements.
func isTable(literal *ast.CompositeLit) bool {
	switch literal.Type.(type) {
	case *ast.ArrayType, *ast.MapType:
		return len(literal.Elts) > 1
	}
	return false
}

// nameOf returns the name of a function, with its receiver's type if it has
// one: (*Server).Start.
func nameOf(function *ast.FuncDecl) string {
	if function.Recv == nil {
		return function.Name.Name
	}
	switch receiver := function.Recv.List[0].Type.(type) {
	case *ast.StarExpr:
		if name, ok := receiver.X.(*ast.Ident); ok {
			return "(*" + name.Name + ")." + function.Name.Name
		}
	case *ast.Ident:
		return receiver.Name + "." + function.Name.Name
	}
	return function.Name.Name
}

// The lines of a table do not count, those of a nested function do.
func TestSizesOfFunctions(t *testing.T) {
	t.Parallel()
	const source = `package p

func (s *server) run() {
	for _, c := range []int{
		1,
		2,
	} {
		func() {
			_ = c
		}()
	}
}

func (kind) name() {}
`
	lines, functions := sizes(t, []byte(source))
	if lines != 14 || len(functions) != 2 || functions["(*server).run"] != 6 || functions["kind.name"] != 1 {
		t.Errorf("%d lines, functions %v", lines, functions)
	}
}
