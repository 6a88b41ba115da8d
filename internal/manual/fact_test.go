package manual

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The README is an introduction. Details are in docs.
func TestReadmeIsShort(t *testing.T) {
	t.Parallel()
	const most = 10 << 10
	if n := len(read(t, "README.md")); n > most {
		t.Errorf("the README has %d bytes, at most %d: move a part to docs", n, most)
	}
}

// The job type in the README is short, including its main. Imports do not
// count.
func TestReadmeJobTypeIsShort(t *testing.T) {
	t.Parallel()
	const most = 25
	found := blocks(t, "README.md")
	i := slices.IndexFunc(found, func(b block) bool { return b.language == "go" })
	if i < 0 {
		t.Fatal("the README has no Go")
	}
	_, code, _ := strings.Cut(found[i].text, "\n)\n\n")
	if n := strings.Count(code, "\n"); n == 0 || n > most {
		t.Errorf("the job type of the README has %d lines, want at most %d", n, most)
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

// The documents and the compose file allow the same time for a stop.
func TestStopTime(t *testing.T) {
	t.Parallel()
	grace := matches(`stop_grace_period: (\d+)s # a stop`, read(t, "docker-compose.yml"))
	for _, page := range []string{"README.md", "docs/deploy.md"} {
		if said := matches(`with SIGTERM and give it (\d+) s`, read(t, page)); len(grace) != 1 || !slices.Equal(said, grace) {
			t.Errorf("%s gives a stop %v s, the compose file %v", page, said, grace)
		}
	}
}

// Files and folders of the repository that a page names exist.
func TestNamedPathsExist(t *testing.T) {
	t.Parallel()
	named := regexp.MustCompile("`((?:admin|app|cmd|docs|examples|ingest|internal|lumin|migrations|store|worker)/[a-zA-Z0-9_/.*-]+)`")
	n := 0
	for _, page := range pages(t) {
		for _, match := range named.FindAllStringSubmatch(read(t, page), -1) {
			n++
			found, err := filepath.Glob(filepath.Join(root, strings.TrimSuffix(match[1], "/...")))
			if err != nil || len(found) == 0 {
				t.Errorf("%s names %s, which does not exist", page, match[1])
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d paths found", n)
	}
}

// The settings page lists the prefixes of this program's settings.
func TestSettingPrefixes(t *testing.T) {
	t.Parallel()
	_, code, _ := strings.Cut(read(t, "app/environment.go"), "func settingPrefixes()")
	code, _, _ = strings.Cut(code, "\n}")
	_, text, _ := strings.Cut(read(t, "docs/settings.md"), "**Misspelled names.**")
	text, _, _ = strings.Cut(text, "\n\n")
	sameNames(t, "prefix", matches("`([A-Z_]+_)`", text), matches(`"([A-Z_]+_)"`, code))
}
