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

// goTool runs a go command in a folder and returns its output. The error
// contains the messages on standard error. mod is the value of -mod: readonly
// or mod, which may change go.mod. With a cold module cache, the command may
// download modules, because another module needs more of the module graph than
// this checkout.
func goTool(ctx context.Context, dir, mod, verb string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, "go", append([]string{verb, "-mod=" + mod}, args...)...)
	command.Dir = dir
	command.Env = append(os.Environ(), "GOWORK=off", "PWD="+dir)
	var stderr strings.Builder // not part of the output: it also reports downloads
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil {
		err = fmt.Errorf("go %s: %w\n%s", verb, err, &stderr)
	}
	return string(output), err
}

// raceFlag returns -race if this test was built with the race detector, so that
// builds can use the same cached packages.
func raceFlag() []string {
	info, _ := debug.ReadBuildInfo()
	for _, setting := range info.Settings {
		if setting.Key == "-race" && setting.Value == "true" {
			return []string{"-race"}
		}
	}
	return nil
}

// program holds what the help of lumin-ingest documents.
type program struct {
	names    []string            // commands, in the order of the help
	commands map[string]*command // "serve", "migrate up", ...
}

type command struct {
	flags map[string]bool   // "--dry-run"
	env   map[string]string // setting by flag: DATABASE_URL by --database-url

	about, usage string
	arguments    []flagDoc
	list         []flagDoc // the flags
}

// asProgram is the variable that turns this test binary into lumin-ingest,
// without job types of its own.
const asProgram = "LUMIN_INGEST_MANUAL_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		app.Main(func(context.Context, app.Env) (*worker.Registry, error) { return worker.NewRegistry(), nil })
	}
	os.Exit(m.Run())
}

// help returns the output of the program for the given words and --help.
func help(words ...string) (string, error) {
	binary, err := os.Executable()
	if err != nil {
		return "", err
	}
	command := exec.Command(binary, append(words, "--help")...)
	command.Args[0] = "lumin-ingest" // usage begins with the program's name
	command.Env = append(os.Environ(), asProgram+"=1")
	output, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("lumin-ingest %s --help: %w", strings.Join(words, " "), err)
	}
	return string(output), nil
}

var (
	readProgram = sync.OnceValues(func() (*program, error) {
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
		var reading sync.WaitGroup
		for i, name := range names {
			reading.Go(func() { texts[i], errs[i] = help(strings.Fields(name)...) })
		}
		reading.Wait()
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

// theProgram returns the program's help, which is read only once.
func theProgram(t *testing.T) *program {
	t.Helper()
	p, err := readProgram()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// readHelp reads the help of one command. A flag is at the start of a line,
// after its short form if it has one. Its description may continue on the next
// lines.
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

// problem returns why a call of the program is invalid, or "" if it is valid.
func (p *program) problem(args []string) string {
	var name string
	var c *command
	for n := 2; n >= 1 && c == nil; n-- {
		if len(args) >= n {
			name = strings.Join(args[:n], " ")
			c = p.commands[name]
		}
	}
	if c == nil && args[0] == "failures" { // list is its default command
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
