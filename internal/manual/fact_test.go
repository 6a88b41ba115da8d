package manual

import (
	"slices"
	"strings"
	"testing"
)

// The README is the front door: everything longer is a page of its own.
func TestReadmeIsShort(t *testing.T) {
	t.Parallel()
	const most = 10 << 10
	if n := len(read(t, "README.md")); n > most {
		t.Errorf("the README has %d bytes, at most %d: move a part to docs", n, most)
	}
}

// The package comment of app lists all commands.
func TestAppListsCommands(t *testing.T) {
	t.Parallel()
	text := strings.Join(strings.Fields(strings.ReplaceAll(read(t, "app/doc.go"), "//", "")), " ")
	list := matches(`Such a program has all commands of lumin-ingest: ([^.]*)\.`, text)
	if len(list) != 1 {
		t.Fatalf("app/doc.go has %d lists of commands", len(list))
	}
	var want []string
	for _, name := range theProgram(t).names {
		name, _, _ = strings.Cut(name, " ")
		want = append(want, name)
	}
	got := strings.Split(strings.ReplaceAll(list[0], " and ", ", "), ", ")
	if want = slices.Compact(want); !slices.Equal(got, want) {
		t.Errorf("app/doc.go lists %v, want %v", got, want)
	}
}

// The rooms of the design are the packages, with what each imports of the others.
func TestRooms(t *testing.T) {
	t.Parallel()
	output, err := goTool(t.Context(), root, "readonly", "list", "-f", `{{.ImportPath}}: {{join .Imports " "}}`, "./...")
	if err != nil {
		t.Fatal(err)
	}
	packages := map[string][]string{}
	for line := range strings.Lines(output) {
		path, imports, _ := strings.Cut(strings.TrimSpace(line), ":")
		room := strings.TrimPrefix(path, "lumin-ingest/")
		if !isRoom(room) {
			continue
		}
		packages[room] = nil
		for path := range strings.FieldsSeq(imports) {
			if other, ours := strings.CutPrefix(path, "lumin-ingest/"); ours && isRoom(other) {
				packages[room] = append(packages[room], other)
			}
		}
	}
	for _, row := range rows(section(t, "docs/design.md", "Rooms")) {
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
}

// isRoom reports whether a package has a row in the table of rooms. Parts in
// internal have none, except the running program.
func isRoom(path string) bool {
	return path == "internal/service" || !strings.HasPrefix(path, "internal/") && !strings.HasPrefix(path, "cmd/")
}

// A stop takes as long as the compose file allows for.
func TestStopTime(t *testing.T) {
	t.Parallel()
	grace := matches(`stop_grace_period: (\d+)s # a stop`, read(t, "docker-compose.yml"))
	for _, page := range []string{"README.md", "docs/deploy.md"} {
		if said := matches(`with SIGTERM and give it (\d+) s`, read(t, page)); len(grace) != 1 || !slices.Equal(said, grace) {
			t.Errorf("%s gives a stop %v s, the compose file %v", page, said, grace)
		}
	}
}
