//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// result is what the tests found on one version.
type result struct {
	major   int
	missing error  // why the version could not be tested
	version string // as the server reports it

	took           time.Duration
	passed, failed int               // tests, including their parts
	skipped        map[string]string // test → reason
	output         string            // of tests and packages that failed
	err            error             // go test itself
}

// packagesWithServer lists the packages whose tests start a server.
func packagesWithServer(ctx context.Context) ([]string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-test", "-f", `{{.ImportPath}} {{join .Deps " "}}`, "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var packages []string
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		name, isTest := strings.CutSuffix(words[0], ".test")
		if isTest && slices.Contains(words, "lumin-ingest/internal/pgdev") {
			packages = append(packages, name)
		}
	}
	if len(packages) == 0 {
		return nil, errors.New("no package has tests that start a server; run this command in the project's folder")
	}
	return packages, nil
}

// goTest runs the tests with further variables of the environment.
func (o options) goTest(ctx context.Context, environment []string, r *result) {
	args := []string{"test", "-json", "-count", "1", "-timeout", "30m"}
	if o.race {
		args = append(args, "-race")
	}
	if o.run != "" {
		args = append(args, "-run", o.run)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, o.packages...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // go test stops its tests
	cmd.WaitDelay = 10 * time.Second
	cmd.Env = slices.DeleteFunc(os.Environ(), func(one string) bool { return strings.HasPrefix(one, "TEST_DATABASE_URL=") })
	cmd.Env = append(cmd.Env, environment...)
	cmd.Stderr = os.Stderr
	events, err := cmd.StdoutPipe()
	if err != nil {
		r.err = err
		return
	}
	start := time.Now()
	if r.err = cmd.Start(); r.err != nil {
		return
	}
	err = r.read(bufio.NewScanner(events))
	r.err = errors.Join(err, cmd.Wait())
	r.took = time.Since(start)
}

// event is one line of go test -json.
type event struct{ Action, Package, ImportPath, Test, Output string }

// read counts the events of go test. It prints each package as it ends.
func (r *result) read(lines *bufio.Scanner) error {
	lines.Buffer(nil, 16<<20)
	r.skipped = map[string]string{}
	outputs := map[string]*strings.Builder{}
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("go test -json: %w", err)
		}
		name := strings.TrimSuffix(e.Package+" "+e.Test, " ")
		if e.Package == "" {
			name = e.ImportPath // a build
		}
		if outputs[name] == nil {
			outputs[name] = &strings.Builder{}
		}
		switch e.Action {
		case "output", "build-output":
			outputs[name].WriteString(e.Output)
			continue
		case "pass", "fail", "skip", "build-fail":
			r.count(e, name, outputs[name].String())
			delete(outputs, name)
		}
	}
	return lines.Err()
}

// count adds a test, a package or a build that has ended.
func (r *result) count(e event, name, output string) {
	failed := e.Action == "fail" || e.Action == "build-fail"
	switch {
	case failed:
		r.output += output
	case e.Action == "skip" && e.Test != "":
		r.skipped[strings.TrimPrefix(name, "lumin-ingest/")] = reason(output)
	}
	switch {
	case e.Test == "" && e.Action != "skip":
		fmt.Printf("  %s %s\n", e.Action, name)
	case failed:
		r.failed++
	case e.Action == "pass":
		r.passed++
	}
}

// reason returns the message of a skipped test in its output.
func reason(output string) string {
	for line := range strings.Lines(output) {
		if place, message, found := strings.Cut(strings.TrimSpace(line), ": "); found && strings.Contains(place, "_test.go:") {
			return message
		}
	}
	return "no reason given"
}

// details describes what is not in the summary: skipped tests and output of
// failed ones.
func (r result) details() string {
	var text strings.Builder
	if r.missing != nil {
		fmt.Fprintf(&text, "PostgreSQL %d is NOT tested: %v\n", r.major, r.missing)
	}
	for _, name := range slices.Sorted(maps.Keys(r.skipped)) {
		fmt.Fprintf(&text, "  skipped %s: %s\n", name, r.skipped[name])
	}
	text.WriteString(r.output)
	return text.String()
}

// summary is a table with a row for each version.
func summary(results []result) string {
	var text strings.Builder
	text.WriteString("\n| PostgreSQL | tests passed | failed | skipped | took |\n|---|---:|---:|---:|---:|\n")
	for _, r := range results {
		if r.missing != nil {
			fmt.Fprintf(&text, "| %d | NOT TESTED: %v | | | |\n", r.major, r.missing)
			continue
		}
		fmt.Fprintf(&text, "| %s | %d | %d | %d | %s |\n", r.version, r.passed, r.failed, len(r.skipped), r.took.Round(time.Second))
	}
	return text.String()
}

// verdict returns an error if a version failed or none was tested.
func verdict(results []result) error {
	var errs []error
	tested := 0
	for _, r := range results {
		if r.missing == nil {
			tested++
		}
		if r.err != nil {
			errs = append(errs, fmt.Errorf("PostgreSQL %s: %w", r.version, r.err))
		} else if r.missing == nil && r.passed == 0 {
			errs = append(errs, fmt.Errorf("PostgreSQL %s: no test was run", r.version))
		}
	}
	if tested == 0 {
		errs = append(errs, errors.New("no version could be tested"))
	}
	return errors.Join(errs...)
}
