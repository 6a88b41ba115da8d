// Package docs tests what is said about the program against the program: the
// README and these pages, the Dockerfile and the compose file.
package docs

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
)

// root is the folder of the module.
const root = ".."

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// goTool runs the go command in a folder, without the network. What it may do to
// the go.mod there is up to mod: readonly or mod.
func goTool(ctx context.Context, dir, mod string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, "go", args...)
	command.Dir = dir
	command.Env = append(os.Environ(), "GOFLAGS=-mod="+mod, "GOPROXY=off", "GOWORK=off", "PWD="+dir)
	output, err := command.CombinedOutput()
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

// program is what the binary's own help says about it.
type program struct {
	commands map[string]*command // "serve", "migrate up", ...
}

type command struct {
	flags map[string]bool   // "--dry-run"
	env   map[string]string // setting by flag: DATABASE_URL by --database-url
	deflt map[string]string // default by flag, where the help shows one
}

var (
	buildProgram = sync.OnceValues(func() (*program, error) {
		dir, err := os.MkdirTemp("", "lumin-ingest-docs-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		binary := filepath.Join(dir, "lumin-ingest")
		args := append([]string{"build", "-o", binary}, raceFlag()...)
		build := exec.Command("go", append(args, "./cmd/lumin-ingest")...)
		build.Dir = root
		if output, err := build.CombinedOutput(); err != nil {
			return nil, &buildError{string(output), err}
		}
		return askProgram(binary)
	})

	helpCommand = regexp.MustCompile(`(?m)^  ([a-z]+(?: [a-z]+)?)(?:  |$)`)
	helpFlag    = regexp.MustCompile(`(--(?:\[no-\])?[a-z][a-z0-9-]*)(?:=(\S+))?`)
	helpEnv     = regexp.MustCompile(`\(\$([A-Z][A-Z0-9_]*)\)`)
)

type buildError struct {
	output string
	err    error
}

func (e *buildError) Error() string { return e.err.Error() + "\n" + e.output }

// theProgram builds the program once and reads its help.
func theProgram(t *testing.T) *program {
	t.Helper()
	p, err := buildProgram()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func askProgram(binary string) (*program, error) {
	help, err := exec.Command(binary, "--help").CombinedOutput()
	if err != nil {
		return nil, &buildError{string(help), err}
	}
	_, list, _ := strings.Cut(string(help), "\nCommands:\n")
	p := &program{commands: map[string]*command{}}
	for _, match := range helpCommand.FindAllStringSubmatch(list, -1) {
		name := match[1]
		help, err := exec.Command(binary, append(strings.Fields(name), "--help")...).CombinedOutput()
		if err != nil {
			return nil, &buildError{string(help), err}
		}
		p.commands[name] = readHelp(string(help))
	}
	return p, nil
}

// readHelp reads the help of one command. A flag begins a line; its description
// may go on over several.
func readHelp(help string) *command {
	c := &command{flags: map[string]bool{"--help": true}, env: map[string]string{}, deflt: map[string]string{}}
	flag := ""
	for line := range strings.Lines(help) {
		if trimmed := strings.TrimSpace(line); strings.HasPrefix(trimmed, "--") {
			match := helpFlag.FindStringSubmatch(trimmed)
			flag = strings.Replace(match[1], "[no-]", "", 1)
			c.flags[flag] = true
			if flag != match[1] {
				c.flags[strings.Replace(match[1], "[no-]", "no-", 1)] = true
			}
			if value := strings.Trim(match[2], `"`); value != "" && strings.ToUpper(value) != value {
				c.deflt[flag] = value
			} else if strings.Trim(value, "0123456789") == "" && value != "" {
				c.deflt[flag] = value
			} else if strings.ContainsAny(value, ":.") && strings.ContainsAny(value, "0123456789") {
				c.deflt[flag] = value
			}
		}
		for _, match := range helpEnv.FindAllStringSubmatch(line, -1) {
			c.env[flag] = match[1]
		}
	}
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
