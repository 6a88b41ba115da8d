package app

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestInvocation(t *testing.T) {
	t.Parallel()
	const running = "/tmp/go-build1234567/b001/exe/signing-jobs"
	for _, test := range []struct{ executable, mainPackage, want string }{
		{"/usr/local/bin/signing-jobs", "example.com/signing-jobs", programName()},
		{running, "example.com/signing-jobs", "go run example.com/signing-jobs"},
		{"/root/.cache/go-build/5f/" + strings.Repeat("5f", 32) + "-d/signing-jobs", "example.com/signing-jobs", "go run example.com/signing-jobs"},
		{running, "command-line-arguments", programName()},
		{running, "", programName()},
		{"/srv/go-build/signing-jobs", "example.com/signing-jobs", programName()},
	} {
		if got := invocationOf(test.executable, test.mainPackage); got != test.want {
			t.Errorf("%s of %s: %s, want %s", test.executable, test.mainPackage, got, test.want)
		}
	}
}

// No text of the command line contains a fixed program name: a user's own
// program has its own name.
func TestTextsNameNoProgram(t *testing.T) {
	t.Parallel()
	var files []string
	for _, folder := range []string{".", "../internal/service", "../internal/advice"} {
		found, err := filepath.Glob(filepath.Join(folder, "*.go"))
		if err != nil || len(found) == 0 {
			t.Fatalf("%v, %v", found, err)
		}
		files = append(files, found...)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		imports := map[*ast.BasicLit]bool{}
		for _, path := range file.Imports {
			imports[path.Path] = true
		}
		ast.Inspect(file, func(node ast.Node) bool {
			literal, ok := node.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING || imports[literal] {
				return true
			}
			if text, err := strconv.Unquote(literal.Value); err == nil && strings.Contains(text, "lumin-ingest") {
				t.Errorf("%s: write invocation() or programName() for the name in %s", set.Position(literal.Pos()), literal.Value)
			}
			return true
		})
	}
}
