package manual

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the generated parts of the pages")

// Marks around the generated part of a page. What stands outside is written by
// hand.
const (
	generatedFrom = "<!-- Generated from the program's help: go test ./internal/manual -run Generated -update -->\n"
	generatedTo   = "<!-- End of the generated part. -->\n"
)

// Two pages list what the program's help says, so they agree with the structs
// that kong reads.
func TestGeneratedPages(t *testing.T) {
	t.Parallel()
	for page, write := range map[string]func(*testing.T) string{
		"docs/settings.md": settingsTable,
		"docs/commands.md": commandSections,
	} {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			text := read(t, page)
			before, rest, found := strings.Cut(text, generatedFrom)
			_, after, closed := strings.Cut(rest, generatedTo)
			if !found || !closed {
				t.Fatalf("no marks around the generated part")
			}
			want := before + generatedFrom + "\n" + write(t) + "\n" + generatedTo + after
			if text == want {
				return
			}
			if !*update {
				t.Fatalf("differs from the program at %q: go test ./internal/manual -run Generated -update", firstDifference(text, want))
			}
			if err := os.WriteFile(filepath.Join(root, page), []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// firstDifference is the first line of want that text does not have in its place.
func firstDifference(text, want string) string {
	have := strings.Split(text, "\n")
	for i, line := range strings.Split(want, "\n") {
		if i >= len(have) || have[i] != line {
			return line
		}
	}
	return "the end"
}

// settingDefaults returns the default of each setting. Help shows a placeholder
// instead where a flag has one, so the defaults are those of the struct tags.
func settingDefaults(t *testing.T) map[string]string {
	t.Helper()
	defaults := map[string]string{}
	files, err := filepath.Glob(filepath.Join(root, "app", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		for _, tag := range matches("`([^`\n]*env:\"[^`\n]*)`", read(t, strings.TrimPrefix(file, root))) {
			defaults[reflect.StructTag(tag).Get("env")] = reflect.StructTag(tag).Get("default")
		}
	}
	defaults["LISTEN_ADDR"] = "127.0.0.1:8080"       // decided in code: PORT may stand in for it
	defaults["ADMIN_LISTEN_ADDR"] = "127.0.0.1:8081" // decided in code: dev takes the next free port
	return defaults
}

// few is how many commands a cell lists before it says "most commands".
const few = 4

// settingsTable has a row for each setting, in the order of the help of serve,
// then of the other commands. The settings that only dev reads under another
// name have no rows.
func settingsTable(t *testing.T) string {
	t.Helper()
	p, defaults := theProgram(t), settingDefaults(t)
	rows, users := []flagDoc{}, map[string][]string{}
	for _, name := range append([]string{"serve"}, p.names...) {
		for _, f := range p.commands[name].list {
			if f.env == "" {
				continue
			}
			if _, listed := users[f.env]; !listed {
				rows = append(rows, f)
			}
			if !slices.Contains(users[f.env], name) {
				users[f.env] = append(users[f.env], name)
			}
		}
	}
	var table strings.Builder
	table.WriteString("| variable | flag | default | meaning | read by |\n|---|---|---|---|---|\n")
	for _, f := range rows {
		if base := strings.TrimSuffix(f.env, "_FILE"); base != f.env && users[base] != nil {
			continue
		}
		if plain, ofDev := strings.CutPrefix(f.env, "DEV_"); ofDev && slices.ContainsFunc(rows, func(other flagDoc) bool {
			return other.env == plain && other.name == f.name
		}) {
			continue
		}
		name := "`" + f.env + "`"
		if users[f.env+"_FILE"] != nil {
			name += " *"
		}
		readers := "most commands"
		if len(users[f.env]) <= few {
			readers = "`" + strings.Join(users[f.env], "`, `") + "`"
		}
		fmt.Fprintf(&table, "| %s | `%s` | %s | %s | %s |\n", name, f.name, code(defaults[f.env]), f.text, readers)
	}
	return table.String()
}

// commandSections has a section for each command: what it does, how it is called,
// its arguments and its flags. Flags that are settings are named only.
func commandSections(t *testing.T) string {
	t.Helper()
	p := theProgram(t)
	var page strings.Builder
	for i, name := range p.names {
		c := p.commands[name]
		if i > 0 {
			page.WriteString("\n")
		}
		fmt.Fprintf(&page, "### %s\n\n%s\n\n```text\n%s\n```\n", name, c.about, c.usage)
		var rows, settings []string
		for _, a := range c.arguments {
			rows = append(rows, fmt.Sprintf("| `%s` | | %s |\n", a.name, a.text))
		}
		for _, f := range c.list {
			switch {
			case f.env != "":
				settings = append(settings, "`"+f.env+"`")
			case f.name != "--help":
				rows = append(rows, fmt.Sprintf("| `%s` | %s | %s |\n", f.short+f.name+f.value, code(f.byDefault), f.text))
			}
		}
		if len(rows) > 0 {
			page.WriteString("\n| argument or flag | default | meaning |\n|---|---|---|\n" + strings.Join(rows, ""))
		}
		if len(settings) > 0 {
			page.WriteString("\nSettings: " + strings.Join(settings, ", ") + ".\n")
		}
	}
	return page.String()
}

// code is a cell of a table that holds a value, or nothing.
func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + text + "`"
}

// flagDoc is an argument or a flag as the help of a command has it.
type flagDoc struct {
	short     string // "-f, " where there is such a form
	name      string // "--dry-run", "<id>"
	value     string // "=N" where a flag takes one
	byDefault string
	text      string
	env       string
}

var (
	helpEntry = regexp.MustCompile(`^ {2,6}(-[a-z], )?((?:--(?:\[no-\])?[a-z]|[<[])\S*)(?:\s{2,}(.*))?$`)
	envInText = regexp.MustCompile(` \(` + `\$([A-Z][A-Z0-9_]*)` + `\)`)
)

// describe reads the help of a command for the pages. An entry begins at the
// margin, and its text goes on in lines that are indented further.
func (c *command) describe(help string) {
	head, rest, _ := strings.Cut(help, "\n\n")
	c.usage = strings.TrimPrefix(strings.TrimSpace(head), "Usage: ")
	about, rest, _ := strings.Cut(rest, "\n\n")
	c.about = strings.Join(strings.Fields(about), " ")
	var entries []*flagDoc
	for line := range strings.Lines(rest) {
		line = strings.TrimRight(line, "\n")
		switch match := helpEntry.FindStringSubmatch(line); {
		case match != nil:
			entries = append(entries, &flagDoc{short: match[1], name: match[2], text: match[3]})
		case strings.HasPrefix(line, "       ") && len(entries) > 0:
			last := entries[len(entries)-1]
			last.text = strings.TrimSpace(last.text + " " + strings.TrimSpace(line))
		}
	}
	for _, e := range entries {
		if match := envInText.FindStringSubmatch(e.text); match != nil {
			e.env, e.text = match[1], strings.Replace(e.text, match[0], "", 1)
		}
		if !strings.HasPrefix(e.name, "--") {
			c.arguments = append(c.arguments, *e)
			continue
		}
		name, value, takes := strings.Cut(e.name, "=")
		e.name = name
		switch {
		case takes && regexp.MustCompile(`^[A-Z]`).MatchString(value): // a placeholder
			e.value = "=" + value
		case takes:
			e.value, e.byDefault = "=...", strings.TrimSuffix(strings.Trim(value, `"`), ",...")
		}
		c.list = append(c.list, *e)
	}
}
