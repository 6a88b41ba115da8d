package manual

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/lumin"
	"lumin-ingest/worker"
)

// pages are the documents for people.
func pages(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(found) == 0 {
		t.Fatalf("pages %v, %v", found, err)
	}
	names := []string{"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"}
	for _, page := range found {
		names = append(names, filepath.Join("docs", filepath.Base(page)))
	}
	return names
}

// block is a fenced part of a page.
type block struct {
	page, language, text string
	line                 int
}

func (b block) String() string { return fmt.Sprintf("%s:%d", b.page, b.line) }

func blocks(t *testing.T, page string) []block {
	t.Helper()
	var all []block
	var open *block
	n := 0
	for line := range strings.Lines(read(t, page)) {
		n++
		fence, isFence := strings.CutPrefix(strings.TrimRight(line, "\n"), "```")
		switch {
		case isFence && open == nil:
			open = &block{page: page, language: fence, line: n}
			if fence == "" {
				t.Errorf("%v: the block does not say its language", open)
			}
		case isFence:
			all = append(all, *open)
			open = nil
		case open != nil:
			open.text += line
		}
	}
	if open != nil {
		t.Errorf("%v: the block does not end", open)
	}
	return all
}

func blocksOf(t *testing.T, language string) []block {
	t.Helper()
	var found []block
	for _, page := range pages(t) {
		for _, b := range blocks(t, page) {
			if b.language == language {
				found = append(found, b)
			}
		}
	}
	return found
}

// The Go blocks of a page are the files of one program, each of which says its
// name, and the page on job types says what its go.mod is. Tests among them pass.
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
					t.Fatalf("%v: there is a %s already", b, name)
				}
				write(t, dir, name, b.text)
			}
			// vet type-checks all of it, and says more than build.
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

// goMod is the go.mod of the page on job types, with the folder of this repository in it.
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
	pool := pgtest.Pool(t, pgtest.New(t))
	for _, b := range statements {
		if _, err := pool.Exec(t.Context(), b.text); err != nil {
			t.Errorf("%v: %v", b, err)
		}
	}
}

// call is one call of the program in a page.
type call struct {
	at   string
	args []string
}

// calls finds them in blocks of commands, and in running text.
func calls(t *testing.T) []call {
	t.Helper()
	inline := regexp.MustCompile("`((?:bin/)?lumin-ingest [^`]+)`")
	var found []call
	add := func(at, line string) {
		for _, words := range shell(line) {
			if args, ok := programArgs(words); ok {
				found = append(found, call{at, args})
			}
		}
	}
	for _, page := range pages(t) {
		text := read(t, page)
		for _, b := range blocks(t, page) {
			text = strings.Replace(text, b.text, "", 1)
			for line := range strings.Lines(b.text) {
				if typed, prompt := strings.CutPrefix(line, "$ "); prompt && b.language == "console" {
					add(b.String(), typed)
				} else if b.language == "sh" {
					add(b.String(), line)
				}
			}
		}
		for _, match := range inline.FindAllStringSubmatch(text, -1) {
			add(page, match[1])
		}
	}
	return found
}

// shell splits a line into simple commands and those into words, as far as the
// pages use the language: quotes, pipes, comments.
func shell(line string) [][]string {
	var commands [][]string
	var words []string
	var word strings.Builder
	inWord := false
	var quote rune
	endWord := func() {
		if inWord {
			words = append(words, word.String())
		}
		word.Reset()
		inWord = false
	}
	for _, r := range strings.TrimSpace(line) {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case r == ' ':
			endWord()
		case r == '#' && !inWord:
			return append(commands, words)
		case r == '|' || r == ';' || r == '&':
			endWord()
			commands, words = append(commands, words), nil
		default:
			inWord = true
			word.WriteRune(r)
		}
	}
	endWord()
	return append(commands, words)
}

// programArgs returns what a command hands to the program, if it calls it.
func programArgs(words []string) ([]string, bool) {
	for _, prefix := range [][]string{
		{"lumin-ingest"}, {"bin/lumin-ingest"}, {"go", "run", "."},
		{"docker", "compose", "run", "--rm", "server"},
	} {
		if len(words) > len(prefix) && slices.Equal(words[:len(prefix)], prefix) {
			return words[len(prefix):], true
		}
	}
	return nil, false
}

func TestCommandsExist(t *testing.T) {
	t.Parallel()
	found := calls(t)
	if len(found) < 10 {
		t.Fatalf("only %d calls of the program found", len(found))
	}
	p := theProgram(t)
	for _, c := range found {
		if what := p.complaint(c.args); what != "" {
			t.Errorf("%s: lumin-ingest %s: %s", c.at, strings.Join(c.args, " "), what)
		}
	}
	// A make target, too.
	makefile := read(t, "Makefile")
	for _, page := range pages(t) {
		for _, match := range regexp.MustCompile("(?:`|\\$ )make ([a-z-]+)").FindAllStringSubmatch(read(t, page), -1) {
			if !strings.Contains(makefile, "\n"+match[1]+":") {
				t.Errorf("%s: make %s: no such target", page, match[1])
			}
		}
	}
}

// Every flag that the running text names is one of some command.
func TestFlagsExist(t *testing.T) {
	t.Parallel()
	all := map[string]bool{}
	for _, c := range theProgram(t).commands {
		for flag := range c.flags {
			all[flag] = true
		}
	}
	n := 0
	for _, page := range pages(t) {
		for _, match := range regexp.MustCompile("`(--[a-z-]+)[ =`]").FindAllStringSubmatch(read(t, page), -1) {
			n++
			if !all[match[1]] {
				t.Errorf("%s: no command has a flag %s", page, match[1])
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d flags found", n)
	}
}

// section returns the part of a page below a heading.
func section(t *testing.T, page, heading string) string {
	t.Helper()
	_, text, found := strings.Cut(read(t, page), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("%s has no section %q", page, heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}

// rows returns the cells of the tables in a text, without their headings.
func rows(text string) [][]string {
	var rows [][]string
	inTable := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case !strings.HasPrefix(line, "|"):
			inTable = false
		case strings.Trim(line, "|-") == "":
			inTable = true
		case inTable:
			cells := strings.Split(strings.Trim(line, "|"), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			rows = append(rows, cells)
		}
	}
	return rows
}

func TestSettingsTable(t *testing.T) {
	t.Parallel()
	p := theProgram(t)
	defaults := settingDefaults(t)
	settings := p.settings()
	documented := map[string]bool{}
	for _, row := range rows(section(t, "docs/settings.md", "All settings")) {
		name := strings.Trim(row[0], "`* ")
		names := []string{name}
		if strings.HasSuffix(row[0], "*") {
			names = append(names, name+"_FILE")
		}
		for _, name := range names {
			documented[name] = true
			if !settings[name] {
				t.Errorf("%s is no setting of the program", name)
			}
		}
		if got := strings.Trim(row[2], "`"); got != defaults[name] {
			t.Errorf("%s: the default is %q, the page says %q", name, defaults[name], got)
		}
	}
	for name := range settings {
		// dev has the settings of built-in job types under another name, which the
		// row of DEV_DATABASE_URL says.
		if !documented[name] && !documented[strings.TrimPrefix(name, "DEV_")] {
			t.Errorf("%s is not in the table", name)
		}
	}
}

// sameNames compares what a section names with what the code has.
func sameNames(t *testing.T, what string, named, exist []string) {
	t.Helper()
	if len(exist) < 5 {
		t.Fatalf("%s in the code: %v", what, exist)
	}
	for _, name := range named {
		if !slices.Contains(exist, name) {
			t.Errorf("%s %s does not exist", what, name)
		}
	}
	for _, name := range exist {
		if !slices.Contains(named, name) {
			t.Errorf("%s %s is not on the page", what, name)
		}
	}
}

func matches(pattern, text string) []string {
	var found []string
	for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found = append(found, match[1])
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// The page on job types has a row for each default, with its value.
func TestDefaultsTable(t *testing.T) {
	t.Parallel()
	_, text, _ := strings.Cut(read(t, "docs/job-types.md"), "\n## Settings\n")
	d := worker.Defaults{}
	want := map[string]string{
		"MaxAttempts": strconv.Itoa(d.MaxAttempts()), "Timeout": fmt.Sprintf("%.0f s", d.Timeout().Seconds()),
		"Backoff": fmt.Sprintf("%.0f s", d.Backoff(1).Seconds()), "Sources": "all", "Queue": "`" + d.Queue() + "`",
		"Priority": strconv.Itoa(d.Priority()),
	}
	if n := reflect.TypeFor[worker.Defaults]().NumMethod(); n != len(want) {
		t.Errorf("%d defaults, want %d", n, len(want))
	}
	for _, row := range rows(text) {
		name := strings.Trim(row[0], "`")
		if value, found := want[name]; !found || !regexp.MustCompile("^"+regexp.QuoteMeta(value)+`\b|^`+regexp.QuoteMeta(value)+"$").MatchString(row[1]) {
			t.Errorf("%s: the page says %q, want %q", name, row[1], value)
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("without a row: %v", want)
	}
}

func TestAnswersTable(t *testing.T) {
	t.Parallel()
	var statuses, codes string
	for _, row := range rows(section(t, "docs/http.md", "Answers to deliveries")) {
		statuses += row[0] + "\n"
		codes += row[1] + "\n"
	}
	source := read(t, "ingest/answer.go")
	sameNames(t, "code", matches("`([a-z_]+)`", codes), matches(`problem\(http\.Status\w+, "([a-z_]+)"`, source))
	if !strings.Contains(statuses, "200") {
		t.Error("200 is missing")
	}
}

func TestRetrySchedule(t *testing.T) {
	t.Parallel()
	text := func(d time.Duration) string {
		hours, minutes := int(d.Hours()), int(d.Minutes())%60
		if hours == 0 {
			return fmt.Sprintf("%d min", minutes)
		}
		return fmt.Sprintf("%d h %d min", hours, minutes)
	}
	var delays []string
	for _, d := range lumin.RetryDelays() {
		delays = append(delays, text(d))
	}
	last := len(delays) - 1
	for _, want := range []string{strings.Join(delays[:last], ", ") + " and " + delays[last], text(lumin.RetryWindow)} {
		if !strings.Contains(section(t, "docs/http.md", "Retries"), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

func TestMetricsTable(t *testing.T) {
	t.Parallel()
	var source strings.Builder
	for _, folder := range []string{"ingest", "worker", "store", "admin", "app"} {
		files, err := filepath.Glob(filepath.Join(root, folder, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%v, %v", files, err)
		}
		for _, file := range files {
			if !strings.HasSuffix(file, "_test.go") {
				source.WriteString(read(t, strings.TrimPrefix(file, root)))
			}
		}
	}
	var names string
	for _, row := range rows(section(t, "docs/operate.md", "Metrics")) {
		names += row[0]
	}
	sameNames(t, "metric", matches("`(lumin_[a-z_]+)`", names), matches(`(?:Name:\s+|NewDesc\()"(lumin_[a-z_]+)"`, source.String()))
}

func TestLinksResolve(t *testing.T) {
	t.Parallel()
	anchor := func(heading string) string {
		heading = regexp.MustCompile("[^a-z0-9 _-]").ReplaceAllString(strings.ToLower(heading), "")
		return strings.ReplaceAll(heading, " ", "-")
	}
	for _, page := range pages(t) {
		text := read(t, page)
		for _, b := range blocks(t, page) {
			text = strings.Replace(text, b.text, "", 1)
		}
		for _, match := range regexp.MustCompile(`\]\(([^)#\s]*)(?:#([^)\s]+))?\)`).FindAllStringSubmatch(text, -1) {
			target, fragment := match[1], match[2]
			if strings.Contains(target, "://") {
				if !strings.HasPrefix(target, "https://") {
					t.Errorf("%s: %s is not HTTPS", page, target)
				}
				continue
			}
			file := page
			if target != "" {
				file = filepath.Join(filepath.Dir(page), target)
			}
			if !exists(filepath.Join(root, file)) {
				t.Errorf("%s: %s is not there", page, target)
				continue
			}
			if fragment != "" && !slices.ContainsFunc(matches(`(?m)^#+ (.*)$`, read(t, file)), func(heading string) bool {
				return anchor(heading) == fragment
			}) {
				t.Errorf("%s: %s has no heading #%s", page, file, fragment)
			}
		}
	}
}

// The example of the quick start is run as it stands, only against a server of our own.
func TestCurlExample(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"sh", "curl", "openssl", "sed"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("SKIPPED: %v", err)
		}
	}
	keyring, err := lumin.NewKeyring("my_primary_api_key")
	if err != nil {
		t.Fatal(err)
	}
	const answer = "as Lumin signs"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			_, err = keyring.Verify(body, r.Header)
		}
		if err != nil || r.Method != http.MethodPost || r.URL.Path != "/webhooks/account" || len(body) != 205 {
			t.Errorf("%s %s, %d bytes: %v", r.Method, r.URL.Path, len(body), err)
		}
		_, _ = io.WriteString(w, answer) // the script fails without it
	}))
	defer server.Close()

	var script string
	for _, b := range blocks(t, "docs/quick-start.md") {
		if b.language == "sh" && strings.Contains(b.text, "openssl") {
			script += b.text
		}
	}
	const documented = "http://127.0.0.1:8080"
	if strings.Count(script, documented) != 1 {
		t.Fatalf("the example calls %s %d times", documented, strings.Count(script, documented))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	command := exec.CommandContext(ctx, "sh", "-euc", strings.Replace(script, documented, server.URL, 1))
	command.Env = append(os.Environ(), "no_proxy=127.0.0.1")
	if output, err := command.Output(); err != nil || string(output) != answer {
		t.Errorf("printed %q, %v", output, err)
	}
}

// The README is the front door: everything longer is a page of its own.
func TestReadmeIsShort(t *testing.T) {
	t.Parallel()
	const most = 10 << 10
	if n := len(read(t, "README.md")); n > most {
		t.Errorf("the README has %d bytes, at most %d: move a part to docs", n, most)
	}
}

// Every page is linked from the index.
func TestIndexIsComplete(t *testing.T) {
	t.Parallel()
	index := read(t, "docs/README.md")
	for _, page := range pages(t) {
		target, err := filepath.Rel("docs", page)
		if err != nil {
			t.Fatal(err)
		}
		if page != "README.md" && page != "docs/README.md" && !strings.Contains(index, "]("+target+")") {
			t.Errorf("docs/README.md has no link to %s", page)
		}
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
		if strings.HasPrefix(room, "internal/") || strings.HasPrefix(room, "cmd/") {
			continue
		}
		packages[room] = nil
		for path := range strings.FieldsSeq(imports) {
			if other, ours := strings.CutPrefix(path, "lumin-ingest/"); ours && !strings.HasPrefix(other, "internal/") {
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

// What is for readers elsewhere must not speak of folders on somebody's machine.
func TestNoLocalPaths(t *testing.T) {
	t.Parallel()
	for _, page := range append(pages(t), "Dockerfile", "docker-compose.yml") {
		if found := regexp.MustCompile(`(?:^|[\s'"(])/(?:home|work|tmp|root|Users)/\S+`).FindString(read(t, page)); found != "" {
			t.Errorf("%s names %s", page, strings.TrimSpace(found))
		}
	}
}
