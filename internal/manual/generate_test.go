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

// Marks around the generated part of a page. The rest of the page is written by
// hand.
const (
	generatedFrom = "<!-- Generated from the program's help: go test ./internal/manual -run Generated -update -->\n"
	generatedTo   = "<!-- End of the generated part. -->\n"
)

// Two pages are generated from the program's help, so they agree with the
// structs that kong reads.
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

// firstDifference returns the first line of want that differs from the same
// line of text.
func firstDifference(text, want string) string {
	have := strings.Split(text, "\n")
	for i, line := range strings.Split(want, "\n") {
		if i >= len(have) || have[i] != line {
			return line
		}
	}
	return "the end"
}

// settingDefaults returns the default of each setting. It reads the struct
// tags, because help shows the placeholder of a flag instead of its default.
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
	defaults["LISTEN_ADDR"] = "127.0.0.1:8080"       // set in code, because PORT can replace it
	defaults["ADMIN_LISTEN_ADDR"] = "127.0.0.1:8081" // set in code, because dev uses the next free port
	return defaults
}

// few is the number of commands that a cell lists. Above it, the cell says
// "most commands".
const few = 4

// settingsTable returns a table with a row for each setting: first those of
// serve, in the order of its help, then those of the other commands. A setting
// that only dev reads under another name has no row.
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

// commandSections returns a section for each command: its purpose, its usage,
// its arguments and its flags. Of flags that are settings it lists only the
// names.
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

// code formats a value for a table cell. An empty value gives an empty cell.
func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + text + "`"
}

// flagDoc is an argument or a flag in the help of a command.
type flagDoc struct {
	short     string // "-f, ", or "" without a short form
	name      string // "--dry-run", "<id>"
	value     string // "=N", or "" for a flag without a value
	byDefault string
	text      string
	env       string
}

var (
	helpEntry = regexp.MustCompile(`^ {2,6}(-[a-z], )?((?:--(?:\[no-\])?[a-z]|[<[])\S*)(?:\s{2,}(.*))?$`)
	envInText = regexp.MustCompile(` \(` + `\$([A-Z][A-Z0-9_]*)` + `\)`)
)

// describe reads the help of a command for the pages. An entry begins near the
// margin, and its text may continue in lines with more indentation.
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
