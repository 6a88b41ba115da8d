package manual

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"lumin-ingest/internal/pgtest"
)

// The Go blocks of a page are the files of one program. The first line of each
// is its file name, and docs/job-types.md shows the go.mod. The program
// compiles and its tests pass.
func TestGoBlocksCompile(t *testing.T) {
	t.Parallel()
	programs := map[string][]block{}
	for _, b := range blocksOf(t, "go") {
		programs[b.page] = append(programs[b.page], b)
	}
	if len(programs["README.md"]) == 0 {
		t.Fatal("the README has no Go")
	}
	for page, files := range programs {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, dir, "go.mod", goMod(t))
			write(t, dir, "go.sum", read(t, "go.sum"))
			for _, b := range files {
				name, found := strings.CutPrefix(strings.SplitN(b.text, "\n", 2)[0], "// ")
				if !found || !strings.HasSuffix(name, ".go") || strings.ContainsAny(name, "/ ") {
					t.Fatalf("%v: the first line does not name a file, such as // main.go", b)
				}
				if exists(filepath.Join(dir, name)) {
					t.Fatalf("%v: another block is named %s, too", b, name)
				}
				write(t, dir, name, b.text)
			}
			// vet also type-checks the code.
			if _, err := goTool(t.Context(), dir, "mod", "vet", append(raceFlag(), ".")...); err != nil {
				t.Fatal(err)
			}
			name, err := goTool(t.Context(), dir, "mod", "list", "-f", "{{.Name}}", ".")
			if err != nil {
				t.Fatal(err)
			}
			if strings.TrimSpace(name) != "main" {
				t.Errorf("the blocks are package %s, want a whole program", name)
			}
			if tests, _ := filepath.Glob(filepath.Join(dir, "*_test.go")); len(tests) > 0 {
				if output, err := goTool(t.Context(), dir, "mod", "test", append(raceFlag(), ".")...); err != nil {
					t.Errorf("%v\n%s", err, output)
				}
			}
			if output, err := exec.CommandContext(t.Context(), "gofmt", "-l", dir).CombinedOutput(); err != nil || len(output) > 0 {
				t.Errorf("not formatted: %s %v", output, err)
			}
		})
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// goMod returns the go.mod of docs/job-types.md with the folder of this
// repository.
func goMod(t *testing.T) string {
	t.Helper()
	const replace = "replace lumin-ingest => "
	for _, b := range blocks(t, "docs/job-types.md") {
		if !strings.HasPrefix(b.text, "module ") {
			continue
		}
		before, after, found := strings.Cut(b.text, replace)
		if !found {
			t.Fatalf("%v: no %s", b, replace)
		}
		folder, err := filepath.Abs(root)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(after, "\n")
		return before + replace + folder + "\n" + rest
	}
	t.Fatal("the page has no go.mod")
	return ""
}

// Each SQL statement runs on a migrated database.
func TestSQLBlocksRun(t *testing.T) {
	t.Parallel()
	statements := blocksOf(t, "sql")
	if len(statements) == 0 {
		t.Fatal("no SQL")
	}
	url := pgtest.New(t)
	pgtest.UseRoles(t, url)
	pool, admin := pgtest.Pool(t, url), pgtest.Conn(t, pgtest.AdminURL(t, url))
	for _, b := range statements {
		if strings.HasPrefix(b.text, "CREATE ROLE") { // which other databases would see
			tryQuery(t, admin, b, "DO $do$ BEGIN "+b.text+" END $do$")
			continue
		}
		if _, err := pool.Exec(t.Context(), b.text); err != nil {
			t.Errorf("%v: %v", b, err)
		}
	}
}
