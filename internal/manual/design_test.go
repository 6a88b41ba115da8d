package manual

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"lumin-ingest/internal/pgtest"
)

// The table of rooms lists every package, and its imports from the project.
func TestRooms(t *testing.T) {
	t.Parallel()
	output, err := goTool(t.Context(), root, "readonly", "list", "-f", `{{.ImportPath}}: {{join .Imports " "}}`, "./...")
	if err != nil {
		t.Fatal(err)
	}
	packages := map[string][]string{}
	others := map[string]bool{} // packages in internal without a row
	for line := range strings.Lines(output) {
		path, imports, _ := strings.Cut(strings.TrimSpace(line), ":")
		room := strings.TrimPrefix(path, "lumin-ingest/")
		if !isRoom(room) {
			if part, internal := strings.CutPrefix(room, "internal/"); internal {
				others[part] = true
			}
			continue
		}
		packages[room] = nil
		for path := range strings.FieldsSeq(imports) {
			if other, ours := strings.CutPrefix(path, "lumin-ingest/"); ours && isRoom(other) {
				packages[room] = append(packages[room], other)
			}
		}
	}
	parts := map[string]bool{}
	for _, row := range rows(section(t, "docs/design.md", "Rooms")) {
		if len(row) == 2 {
			parts[strings.Trim(row[0], "`")] = true
			continue
		}
		room, documented := strings.Trim(row[0], "`"), matches("`([a-z/]+)`", row[2])
		imports, known := packages[room]
		if slices.Sort(imports); !known || !slices.Equal(imports, documented) {
			t.Errorf("%s imports %v, the page says %v", room, imports, documented)
		}
		delete(packages, room)
	}
	for room := range packages {
		t.Errorf("%s has no row", room)
	}
	if !maps.Equal(parts, others) {
		t.Errorf("the page has rows for the parts %v of internal, want %v", slices.Sorted(maps.Keys(parts)), slices.Sorted(maps.Keys(others)))
	}
}

// isRoom reports whether a package has a row in the table of rooms. Packages in
// internal have none, except internal/service.
func isRoom(path string) bool {
	return path == "internal/service" || !strings.HasPrefix(path, "internal/") && !strings.HasPrefix(path, "cmd/")
}

// Each module that the program or its tests require has a row in the design.
func TestDependencies(t *testing.T) {
	t.Parallel()
	required, _, _ := strings.Cut(read(t, "go.mod"), "\n)\n") // the second block lists indirect dependencies
	text := section(t, "docs/design.md", "Dependencies")
	modules := matches(`(?m)^\t(\S+) v`, required)
	if len(modules) < 5 {
		t.Fatalf("modules in go.mod: %v", modules)
	}
	for _, module := range modules {
		parts := strings.Split(strings.TrimPrefix(module, "github.com/"), "/")
		if name := strings.Join(parts[:min(2, len(parts))], "/"); strings.HasPrefix(module, "golang.org/x/") {
			if !strings.Contains(text, module) {
				t.Errorf("%s has no row", module)
			}
		} else if !strings.Contains(text, name) {
			t.Errorf("%s has no row", module)
		}
	}
}

// The design has a row for each table of the schema, with its unique columns.
func TestTables(t *testing.T) {
	t.Parallel()
	documented := map[string]string{}
	for _, row := range rows(section(t, "docs/design.md", "Data")) {
		columns, _, _ := strings.Cut(strings.TrimPrefix(row[2], "`"), "`")
		documented[strings.Trim(row[0], "`")] = strings.Trim(columns, "()")
	}
	exist := pgtest.Value[map[string][]string](t, pgtest.Pool(t, pgtest.New(t)), `
		SELECT jsonb_object_agg(c.relname, ARRAY(
		    SELECT (SELECT string_agg(a.attname, ', ' ORDER BY k.n)
		            FROM unnest(u.conkey) WITH ORDINALITY AS k (column_number, n)
		            JOIN pg_catalog.pg_attribute a ON a.attrelid = u.conrelid AND a.attnum = k.column_number)
		    FROM pg_catalog.pg_constraint u WHERE u.conrelid = c.oid AND u.contype IN ('p', 'u')))
		FROM pg_catalog.pg_class c
		WHERE c.relnamespace = 'lumin'::regnamespace AND c.relkind = 'r'
		  AND c.relname NOT LIKE 'river%' AND c.relname <> 'schema_migrations'`)
	sameNames(t, "table", slices.Collect(maps.Keys(documented)), slices.Collect(maps.Keys(exist)))
	for table, columns := range documented {
		if columns != "" && !slices.Contains(exist[table], columns) {
			t.Errorf("%s is unique on %q, the page says %q", table, exist[table], columns)
		}
	}
}
