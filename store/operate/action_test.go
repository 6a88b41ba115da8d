package operate_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store/operate"
)

// Actions lists every constant, and no code writes an action without its constant.
func TestActions(t *testing.T) {
	t.Parallel()
	var named []string
	changes := 0
	err := filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				if file.Name.Name == "operate" && strings.HasPrefix(n.Names[0].Name, "Action") {
					named = append(named, literal(t, n.Values[0]))
				}
			case *ast.CompositeLit:
				if action := actionOf(file.Name.Name, n); action != nil {
					changes++
					if _, constant := action.(*ast.BasicLit); constant {
						t.Errorf("%s writes the action %s without its constant", path, literal(t, action))
					}
				}
			}
			return true
		})
		return nil
	})
	if err != nil || changes < 10 {
		t.Fatalf("found %d changes: %v", changes, err)
	}
	if slices.Sort(named); !slices.Equal(named, operate.Actions()) {
		t.Errorf("the constants are %q, Actions lists %q", named, operate.Actions())
	}
}

// actionOf is the action in a literal of a Change; nil for other literals.
func actionOf(inPackage string, n *ast.CompositeLit) ast.Expr {
	switch of := n.Type.(type) {
	case *ast.Ident:
		if inPackage != "operate" || of.Name != "Change" {
			return nil
		}
	case *ast.SelectorExpr:
		if from, ok := of.X.(*ast.Ident); !ok || from.Name != "operate" || of.Sel.Name != "Change" {
			return nil
		}
	default:
		return nil
	}
	if len(n.Elts) == 0 {
		return nil
	}
	if pair, ok := n.Elts[0].(*ast.KeyValueExpr); ok {
		return pair.Value
	}
	return n.Elts[0]
}

func literal(t *testing.T, e ast.Expr) string {
	t.Helper()
	text, err := strconv.Unquote(e.(*ast.BasicLit).Value)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// The functions of the schema write listed actions, and the table accepts the listed
// ways.
func TestSchemaAgrees(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../migrations/sql/0022_audit_log.up.sql")
	if err != nil {
		t.Fatal(err)
	}
	written := regexp.MustCompile(`'sql', '(\w+)'`).FindAllStringSubmatch(string(text), -1)
	if len(written) != 2 {
		t.Errorf("the functions write %q", written)
	}
	for _, action := range written {
		if !slices.Contains(operate.Actions(), action[1]) {
			t.Errorf("Actions lacks %s", action[1])
		}
	}
	check := pgtest.Value[string](t, pgtest.Pool(t, pgtest.New(t)), `SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'audit_log_via_check'`)
	var vias []string
	for _, via := range regexp.MustCompile(`'(\w+)'`).FindAllStringSubmatch(check, -1) {
		vias = append(vias, via[1])
	}
	if slices.Sort(vias); !slices.Equal(vias, slices.Sorted(slices.Values(operate.Vias()))) {
		t.Errorf("the table accepts %q, Vias lists %q", vias, operate.Vias())
	}
}
