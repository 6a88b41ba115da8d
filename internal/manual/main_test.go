package manual

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"sync"
	"testing"

	"lumin-ingest/app"
	"lumin-ingest/worker"
)

// root is the folder of the module.
const root = "../.."

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// goTool runs a command of go in a folder and returns what it prints; the error
// holds what it complains of. What it may do to the go.mod there is up to mod:
// readonly or mod. What a cold module cache lacks comes from where this machine
// has its modules from, once: another module than the checkout needs more of the
// module graph than building the checkout has fetched.
func goTool(ctx context.Context, dir, mod, verb string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, "go", append([]string{verb, "-mod=" + mod}, args...)...)
	command.Dir = dir
	command.Env = append(os.Environ(), "GOWORK=off", "PWD="+dir)
	var stderr strings.Builder // apart: it tells of downloads as well
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil {
		err = fmt.Errorf("go %s: %w\n%s", verb, err, &stderr)
	}
	return string(output), err
}

// raceFlag makes builds share what a test run with the race detector has built.
func raceFlag() []string {
	info, _ := debug.ReadBuildInfo()
	for _, setting := range info.Settings {
		if setting.Key == "-race" && setting.Value == "true" {
			return []string{"-race"}
		}
	}
	return nil
}

// program is what the program's own help says about it.
type program struct {
	names    []string            // of its commands, in the order of its help
	commands map[string]*command // "serve", "migrate up", ...
}

type command struct {
	flags map[string]bool   // "--dry-run"
	env   map[string]string // setting by flag: DATABASE_URL by --database-url

	about, usage string
	arguments    []flagDoc
	list         []flagDoc // of flags
}

// asProgram makes this test program be lumin-ingest, with the job types that do
// not matter here.
const asProgram = "LUMIN_INGEST_MANUAL_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		app.Main(func(context.Context, app.Env) (*worker.Registry, error) { return worker.NewRegistry(), nil })
	}
	os.Exit(m.Run())
}

// help is what the program says to --help after the given words.
func help(words ...string) (string, error) {
	itself, err := os.Executable()
	if err != nil {
		return "", err
	}
	command := exec.Command(itself, append(words, "--help")...)
	command.Args[0] = "lumin-ingest" // usage begins with the program's name
	command.Env = append(os.Environ(), asProgram+"=1")
	output, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("lumin-ingest %s --help: %w", strings.Join(words, " "), err)
	}
	return string(output), nil
}

var (
	askProgram = sync.OnceValues(func() (*program, error) {
		overview, err := help()
		if err != nil {
			return nil, err
		}
		_, list, _ := strings.Cut(overview, "\nCommands:\n")
		var names []string
		for _, match := range regexp.MustCompile(helpCommand).FindAllStringSubmatch(list, -1) {
			names = append(names, match[1])
		}
		texts, errs := make([]string, len(names)), make([]error, len(names))
		var asking sync.WaitGroup
		for i, name := range names {
			asking.Go(func() { texts[i], errs[i] = help(strings.Fields(name)...) })
		}
		asking.Wait()
		p := &program{names: names, commands: map[string]*command{}}
		for i, name := range names {
			p.commands[name] = readHelp(texts[i])
		}
		return p, errors.Join(errs...)
	})

	helpFlag = regexp.MustCompile(`^(?:(-[a-z]), )?--(\[no-\])?([a-z][a-z0-9-]*)`)
)

const (
	helpCommand = `(?m)^  ([a-z-]+(?: [a-z]+)?)(?:  |$)`
	helpEnv     = `\(\$([A-Z][A-Z0-9_]*)\)`
)

// theProgram reads the program's help once.
func theProgram(t *testing.T) *program {
	t.Helper()
	p, err := askProgram()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// readHelp reads the help of one command. A flag begins a line, perhaps after its
// short form; its description may go on over several.
func readHelp(help string) *command {
	c := &command{flags: map[string]bool{"--help": true}, env: map[string]string{}}
	flag := ""
	for line := range strings.Lines(help) {
		if trimmed := strings.TrimSpace(line); helpFlag.MatchString(trimmed) {
			match := helpFlag.FindStringSubmatch(trimmed)
			flag = "--" + match[3]
			if match[1] != "" {
				c.flags[match[1]] = true
			}
			c.flags[flag] = true
			if match[2] != "" {
				c.flags["--no-"+match[3]] = true
			}
		}
		for _, name := range matches(helpEnv, line) {
			c.env[flag] = name
		}
	}
	c.describe(help)
	return c
}

// settings lists the environment variables of all commands.
func (p *program) settings() map[string]bool {
	settings := map[string]bool{}
	for _, c := range p.commands {
		for _, name := range c.env {
			settings[name] = true
		}
	}
	return settings
}

// complaint says what is wrong with a call of the program; empty if nothing is.
func (p *program) complaint(args []string) string {
	var name string
	var c *command
	for n := 2; n >= 1 && c == nil; n-- {
		if len(args) >= n {
			name = strings.Join(args[:n], " ")
			c = p.commands[name]
		}
	}
	if c == nil && args[0] == "failures" { // its default
		name, c = args[0], p.commands["failures list"]
	}
	if c == nil {
		if len(args) == 1 && args[0] == "--help" {
			return ""
		}
		return "no such command"
	}
	for _, arg := range args[len(strings.Fields(name)):] {
		if flag, _, _ := strings.Cut(arg, "="); strings.HasPrefix(flag, "-") && !c.flags[flag] {
			return name + " has no flag " + flag
		}
	}
	return ""
}
